"""Requests to a FHIR server: who we are, what is tried again, where we never go, what no message says."""

import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import urllib.parse

import httpx2
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from fhir_servers import Fault, Proxy, running_server

from kiwi_fhir.clients.backoff import Backoff, retry_after
from kiwi_fhir.clients.fhir import READ_SCOPE, FhirClient, issues_of
from kiwi_fhir.clients.fhir_auth import Access, FhirAuth, access_from
from kiwi_fhir.errors import KiwiError, Unavailable, UsageError

SECRET = "s3cr3t-Zebediah"


def pem(key):
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def public(key):
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, kind)


KEYS = {"rsa": rsa.generate_private_key(65537, 2048), "ec": ec.generate_private_key(ec.SECP384R1())}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that wants a token, a password, or a SMART client."""
    folder = tmp_path_factory.mktemp("guarded")
    clients = [{"client_id": "with-secret", "client_secret": SECRET}]
    for name, key in KEYS.items():
        (folder / f"{name}.pub").write_bytes(public(key))
        (folder / f"{name}.pem").write_bytes(pem(key))
        clients.append({"client_id": f"with-{name}", "public_key_path": str(folder / f"{name}.pub")})
    auth = {
        "types": ["basic", "bearer", "smart"],
        "users": {"anna": SECRET},
        "tokens": [SECRET],
        "smart_clients": clients,
        "token_lifetime": 3600,
    }
    with running_server(folder, {"server_auth": auth}) as (proxy, _, _):
        yield proxy, folder


@pytest.fixture
def proxy():
    made = Proxy()
    made.target = 9  # nothing is there: every answer is a planned one
    yield made
    made.close()


def ask(base, path="Patient?_summary=count", **settings):
    client = FhirClient(
        base, role="SOURCE", scope=READ_SCOPE, access=Access(**{"timeout": 2, "patience": 5, **settings})
    )
    try:
        return client.request("GET", path)
    finally:
        client.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"token": SECRET},
        {"user": "anna", "password": SECRET},
        {"client_id": "with-secret", "client_secret": SECRET},
        {"client_id": "with-rsa", "key_file": "rsa.pem"},
        {"client_id": "with-ec", "key_file": "ec.pem", "key_id": "k1"},
    ],
    ids=["token", "basic", "client credentials", "RS384", "ES384"],
)
def test_every_way_to_log_in(guarded, settings):
    proxy, folder = guarded
    if "key_file" in settings:
        settings = {**settings, "key_file": str(folder / settings["key_file"])}
    assert ask(proxy.base, **settings).status_code == 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "wants to know who we are"),
        ({"token": f"{SECRET}-wrong"}, "refuses our credentials"),
        ({"user": "anna", "password": f"{SECRET}-wrong"}, "refuses our credentials"),
        ({"client_id": "with-secret", "client_secret": f"{SECRET}-wrong"}, "token server refuses us"),
    ],
)
def test_wrong_credentials(guarded, settings, words):
    with pytest.raises(KiwiError, match=words) as raised:
        ask(guarded[0].base, **settings)
    assert SECRET not in str(raised.value)


def test_what_is_signed(guarded, tmp_path):
    """Header and claims as the specification wants them."""
    said = {}

    def answer(request):
        said.update(urllib.parse.parse_qsl(request.content.decode()) if request.method == "POST" else ())
        said["header"] = request.headers.get("Authorization")
        return httpx2.Response(200, json={"access_token": "t", "expires_in": 100})

    for name, algorithm in (("rsa", "RS384"), ("ec", "ES384")):
        access = Access(
            client_id="me", key_file=str(guarded[1] / f"{name}.pem"), key_id="k7", token_url="https://a/token"
        )
        auth = FhirAuth(access, "https://a/fhir", scope="system/*.read")
        with httpx2.Client(auth=auth, transport=httpx2.MockTransport(answer)) as client:
            client.get("https://a/fhir/Patient")
        assert said["header"] == "Bearer t"
        token = said["client_assertion"]
        assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": "k7", "typ": "JWT"}
        claims = jwt.decode(token, public(KEYS[name]), algorithms=[algorithm], audience="https://a/token")
        assert claims["iss"] == claims["sub"] == "me"
        assert claims["exp"] - datetime.datetime.now().timestamp() <= 300
        assert (said["grant_type"], said["scope"]) == ("client_credentials", "system/*.read")


def test_a_token_that_ends_is_fetched_again(guarded):
    proxy = guarded[0]
    proxy.clear()
    access = Access(client_id="with-secret", client_secret=SECRET, timeout=2, patience=5)
    client = FhirClient(proxy.base, role="", scope=READ_SCOPE, access=access)
    client.request("GET", "Patient")
    client.request("GET", "Patient")
    assert proxy.kinds().count("token") == 1
    proxy.plan(Fault(status=401), on="read")
    assert client.request("GET", "Patient").status_code == 200
    assert proxy.kinds().count("token") == 2
    client.close()


def test_a_token_file_is_read_again(guarded, tmp_path):
    file = tmp_path / "token"
    file.write_text("old")
    access = Access(token_file=str(file), timeout=2, patience=5)
    client = FhirClient(guarded[0].base, role="", scope=READ_SCOPE, access=access)
    with pytest.raises(KiwiError, match="401"):
        client.request("GET", "Patient")
    file.write_text(f"{SECRET}\n")
    assert client.request("GET", "Patient").status_code == 200
    client.close()


def test_the_environment(tmp_path):
    (tmp_path / "password").write_text(f"{SECRET}\n")
    plain = {"KIWI_FHIR_TOKEN": SECRET, "KIWI_FHIR_TIMEOUT": "7"}
    assert access_from(plain, "SINK") == Access(token=SECRET, timeout=7)
    both = {**plain, "KIWI_FHIR_SINK_USER": "anna", "KIWI_FHIR_SINK_PASSWORD_FILE": str(tmp_path / "password")}
    assert access_from(both, "SINK") == Access(user="anna", password=SECRET)  # the token is not the sink's
    assert access_from(both, "SOURCE").token == SECRET
    assert SECRET not in repr(access_from(both, "SINK")) + repr(access_from(plain))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TOKEN": SECRET, "USER": "anna", "PASSWORD": SECRET}, "one way to log in"),
        ({"USER": "anna"}, "needs KIWI_FHIR_PASSWORD"),
        ({"CLIENT_ID": "me"}, "one of KIWI_FHIR_CLIENT_SECRET and"),
        ({"CLIENT_ID": "me", "CLIENT_SECRET": SECRET, "KEY_FILE": "x"}, "one of"),
        ({"TIMEOUT": "soon"}, "number of seconds"),
        ({"USER": "anna", "PASSWORD_FILE": "/nowhere"}, "can't be read"),
    ],
)
def test_an_environment_that_contradicts_itself(environment, words):
    with pytest.raises(UsageError, match=words) as raised:
        access_from({f"KIWI_FHIR_{name}": value for name, value in environment.items()}, "SINK")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"https://anna:{SECRET}@host/fhir", "no user, password or query"),
        (f"https://host/fhir?token={SECRET}", "no user, password or query"),
        ("ftp://host/fhir", "must begin with"),
        ("host/fhir", "must begin with"),
        ("http://[::bad/fhir", "must begin with"),
        ("http://host/fhir", "plain http"),
    ],
)
def test_a_url_that_is_refused(url, words):
    with pytest.raises(UsageError, match=words) as raised:
        FhirClient(url, role="SINK", scope=READ_SCOPE, access=Access(token=SECRET))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://elsewhere.example/fhir/Patient", "https://127.0.0.1/x", "http://127.0.0.1:1/x"]
)
def test_another_origin_is_never_asked(proxy, url):
    with pytest.raises(KiwiError, match="another host"):
        ask(proxy.base, url)
    proxy.plan(Fault(status=307, headers={"Location": url}), on="read")
    with pytest.raises(KiwiError, match="redirects to another host"):
        ask(proxy.base, token=SECRET)
    page = {"resourceType": "Bundle", "link": [{"relation": "next", "url": url}]}
    proxy.plan(Fault(status=200, body=json.dumps(page).encode()), on="read")
    client = FhirClient(proxy.base, role="", scope=READ_SCOPE, access=Access())
    with pytest.raises(KiwiError, match="another host"):
        list(client.search("Patient"))


def test_redirects_within_the_server(proxy):
    proxy.plan(Fault(status=301, headers={"Location": "/fhir/Patient/2"}), on="read")
    proxy.plan(Fault(status=200), on="read")
    assert ask(proxy.base).status_code == 200
    proxy.plan(Fault(status=302, headers={"Location": "/fhir/Patient/2"}), on="read", times=9)
    with pytest.raises(KiwiError, match="redirects"):
        ask(proxy.base)
    proxy.clear()
    proxy.plan(Fault(status=302, headers={"Location": "/fhir/"}))
    client = FhirClient(proxy.base, role="", scope=READ_SCOPE, access=Access())
    with pytest.raises(KiwiError, match="use the URL"):  # a POST would become a GET
        client.send("POST", "", content=b'{"type": "transaction"}')


def test_what_breaks_while_it_is_read(proxy):
    body = b"x" * 100
    client = FhirClient(proxy.base, role="", scope=READ_SCOPE, access=Access(timeout=1))
    proxy.plan(Fault(status=200, body=body, headers={"Content-Encoding": "gzip"}), on="read")
    with pytest.raises(KiwiError, match="unpacked"):
        client.send("GET", "Patient")
    proxy.plan(Fault(status=200, body=body), on="read")
    with client.stream("Patient") as response:
        assert b"".join(response.iter_bytes()) == body
    proxy.plan(Fault(status=503, headers={"Retry-After": "2"}), on="read")
    with pytest.raises(Unavailable) as raised, client.stream("Patient"):
        pass
    assert (raised.value.status, raised.value.retry_after) == (503, 2)


def test_pauses():
    slept = []

    def wait(seconds):
        slept.append(seconds)

    backoff = Backoff(1000, wait)
    for _ in range(12):
        backoff.wait(Unavailable("x", 503))
    assert all(0 <= pause <= 30 for pause in slept)
    assert max(slept[6:]) > max(slept[:2])
    backoff.wait(Unavailable("x", 429, retry_after=40))
    assert 40 <= slept[-1] <= 41
    with pytest.raises(Unavailable):
        backoff.wait(Unavailable("x", 429, retry_after=1001))
    at_500 = Backoff(1000, wait)
    for _ in range(3):
        at_500.wait(Unavailable("x", 500))
    with pytest.raises(Unavailable):
        at_500.wait(Unavailable("x", 500))
    with pytest.raises(Unavailable):
        Backoff(1000, lambda _: True).wait(Unavailable("closed"))


def test_retry_after():
    assert retry_after(None) is None
    assert retry_after("soon") is None
    assert retry_after("-1") is None
    assert retry_after("12") == 12
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    assert 55 < retry_after(later.strftime("%a, %d %b %Y %H:%M:%S GMT")) <= 60


def test_of_an_outcome_only_codes_and_paths_are_said():
    issue = {
        "severity": "error",
        "code": "invalid",
        "diagnostics": SECRET,
        "details": {"text": SECRET, "coding": [{"code": SECRET}]},
        "expression": ["Condition.code.coding[0]"],
    }
    assert issues_of({"issue": [issue, issue]}) == " (error invalid at Condition.code.coding[0])"
    odd = {"severity": SECRET, "code": ["x"], "expression": [f"where(text = '{SECRET}')"]}
    assert issues_of({"issue": [odd, 7]}) == ""
    assert issues_of({"issue": "x"}) == issues_of([]) == issues_of(None) == ""


@pytest.fixture(scope="module")
def https(tmp_path_factory):
    """A server with a certificate that nobody signed: `(base, certificate file)`."""
    folder = tmp_path_factory.mktemp("tls")
    key, now = KEYS["ec"], datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = builder.add_extension(addresses, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(pem(key))

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(200)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}/fhir", str(folder / "cert.pem")
    server.shutdown()
    server.server_close()


def test_certificates(https, tmp_path):
    base, certificate = https
    with pytest.raises(UsageError, match="not trusted"):
        ask(base, token=SECRET)
    assert ask(base, token=SECRET, ca_file=certificate).status_code == 200
    assert ask(base, token=SECRET, insecure=True).status_code == 200
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(UsageError, match="KIWI_FHIR_CA_FILE"):
        ask(base, ca_file=str(tmp_path / "no.pem"))
