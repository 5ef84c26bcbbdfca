"use strict";
// Looking at a span shows what is linked to it and its resources; looking at a card shows its span. A click keeps it.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const known = new WeakMap();
  let shown = null; // the article in which something is shown
  let redraw = null;
  let kept = false;

  const keysOf = (element) => (element.dataset.k || "").split(" ").filter(Boolean);

  // What the page says about a note, gathered when it is first looked at.
  const indexOf = (article) => {
    if (!known.has(article)) {
      const elements = new Map();
      for (const element of article.querySelectorAll("[data-k]")) {
        for (const key of keysOf(element)) {
          if (!elements.has(key)) elements.set(key, []);
          elements.get(key).push(element);
        }
      }
      const links = article.dataset.links.split(";").filter(Boolean).map((link) => link.split(" "));
      known.set(article, { elements, links });
    }
    return known.get(article);
  };

  const clear = () => {
    if (!shown) return;
    for (const element of shown.querySelectorAll(".on, .linked")) element.classList.remove("on", "linked");
    shown.querySelector(".joins")?.remove();
    shown = redraw = null;
    kept = false;
  };

  const show = (element) => {
    clear();
    shown = element.closest("article");
    const text = shown.querySelector(".text");
    const { elements, links } = indexOf(shown);
    const chosen = new Set(keysOf(element));
    const joins = links.filter(([mention, modifier]) => chosen.has(mention) || chosen.has(modifier));
    for (const key of chosen) for (const found of elements.get(key)) found.classList.add("on");
    for (const key of joins.flat()) {
      if (chosen.has(key)) continue;
      for (const found of elements.get(key)) found.classList.add(found.matches(".card") ? "on" : "linked");
    }
    redraw = () => draw(text, elements, joins);
    redraw();
    const card = element.matches(".card") ? null : shown.querySelector(".card.on");
    const box = shown.querySelector(".column");
    if (card && box.scrollHeight > box.clientHeight) {
      const gap = card.getBoundingClientRect().top - box.getBoundingClientRect().top;
      if (gap < 0 || gap > box.clientHeight - card.offsetHeight) box.scrollTop += gap - box.clientHeight / 3;
    }
  };

  // A curve from each mention to each of its modifiers that lies outside it.
  const draw = (text, elements, joins) => {
    text.querySelector(".joins")?.remove();
    const frame = text.getBoundingClientRect();
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "joins");
    svg.setAttribute("aria-hidden", "true");
    const add = (name, attributes) => {
      const made = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      svg.append(made);
    };
    const place = (key) => {
      const piece = elements.get(key).find((found) => found.matches(".p"));
      const { left, top, bottom, width } = piece.getClientRects()[0];
      return { piece, x: left + width / 2 - frame.left, top: top - frame.top, bottom: bottom - frame.top };
    };
    for (const [mention, modifier] of joins) {
      const from = place(mention);
      const to = place(modifier);
      if (keysOf(to.piece).includes(mention)) continue;
      // On one line an arc above it; else from edge to edge, through the gap between the lines.
      const upward = to.bottom <= from.top;
      const downward = to.top >= from.bottom;
      const start = downward ? from.bottom : from.top;
      const end = upward ? to.bottom : to.top;
      const bend = upward || downward ? (end - start) / 2 : -16;
      const [first, second] = [start + bend, upward || downward ? end - bend : end + bend];
      add("path", { d: `M${from.x},${start} C${from.x},${first} ${to.x},${second} ${to.x},${end}` });
      add("circle", { cx: to.x, cy: end, r: 3.5 });
    }
    text.append(svg);
  };

  const target = (event) => event.target.closest?.(".p, .card");

  document.addEventListener("pointerover", (event) => {
    const element = target(event);
    if (event.pointerType === "mouse" && element && !kept) show(element);
  });
  document.addEventListener("pointerout", (event) => {
    if (event.pointerType === "mouse" && !kept && !event.relatedTarget?.closest?.(".p, .card")) clear();
  });
  document.addEventListener("focusin", (event) => {
    const element = target(event);
    if (element === event.target && element.matches(":focus-visible")) show(element);
  });
  document.addEventListener("click", (event) => {
    const element = target(event);
    if (event.target.closest("summary, pre, a, label")) return;
    clear();
    if (!element) return;
    show(element);
    kept = true;
    if (element.matches(".card")) {
      shown.querySelector(".p.on")?.scrollIntoView({ block: "nearest" });
    }
  });
  // One stop of the tab key for each text and each column of cards; arrows go on from there.
  for (const part of document.querySelectorAll(".text, .column > ol")) {
    const first = part.querySelector("[tabindex]");
    if (first) first.tabIndex = 0;
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      clear();
      for (const menu of document.querySelectorAll(".filters details[open]")) menu.open = false;
    }
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!event.target.matches?.(".p, .card")) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.target.click();
    }
    if (!step) return;
    const all = [...event.target.closest(".text, ol").querySelectorAll("[tabindex]")];
    const next = all[all.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  addEventListener("resize", () => redraw?.());

  // The list follows the note that is being read.
  const entries = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver(
    (changes) => {
      for (const change of changes) {
        const link = entries.get(change.target.id);
        if (!change.isIntersecting) {
          link.removeAttribute("aria-current");
        } else {
          link.setAttribute("aria-current", "true");
          if (getComputedStyle(link.closest("nav")).position === "sticky") link.scrollIntoView({ block: "nearest" });
        }
      }
    },
    { rootMargin: "-30% 0px -69% 0px" },
  );
  for (const article of document.querySelectorAll("article")) seen.observe(article);
})();
