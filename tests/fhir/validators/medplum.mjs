// Resources, one a line on stdin, through medplum's validateResource; each error comes out as a line of JSON:
// [index of the resource, profile or null, path, message]. Arguments: the folder of package.json, a file of further
// StructureDefinitions (a JSON array). A resource is checked against R4, and against each profile that it claims and
// that is there, or that stands in for it (a JSON object of URLs, the third argument).
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [folder, further, standIns] = process.argv.slice(2);
globalThis.WebSocket ??= class {};
const { indexStructureDefinitionBundle, loadDataType, validateResource, OperationOutcomeError } = createRequire(
  join(folder, 'package.json')
)('@medplum/core');
const read = (path) => JSON.parse(readFileSync(path, 'utf8'));

indexStructureDefinitionBundle(read(join(folder, 'r4.json')));
const profiles = new Map();
for (const definition of read(further)) {
  profiles.set(definition.url, definition);
  loadDataType(definition);
}
const instead = read(standIns);

function errors(resource, profile) {
  try {
    validateResource(resource, profile && { profile });
    return [];
  } catch (error) {
    if (!(error instanceof OperationOutcomeError)) throw error;
    return error.outcome.issue.filter((issue) => issue.severity !== 'warning' && issue.severity !== 'information');
  }
}

let index = 0;
const checked = {};
for (const line of readFileSync(0, 'utf8').split('\n')) {
  if (!line) continue;
  const resource = JSON.parse(line);
  const claimed = (resource.meta?.profile ?? []).map((url) => profiles.get(url) ?? profiles.get(instead[url]));
  for (const profile of [undefined, ...claimed.filter(Boolean)]) {
    const url = profile?.url ?? null;
    checked[url] = (checked[url] ?? 0) + 1;
    for (const issue of errors(resource, profile)) {
      console.log(JSON.stringify([index, url, issue.expression?.join(' ') ?? '', issue.details?.text ?? issue.code]));
    }
  }
  index++;
}
console.log(JSON.stringify({ resources: index, checked }));
