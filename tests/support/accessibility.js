// Each fault in a sentence; an empty list is a page without any. Contrast is WCAG's formula over composed grounds.
() => {
  const found = [];
  const seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);
  const say = (rule, e) => found.push(`${rule}: ${e.outerHTML.slice(0, 120)}`);
  const name = (e) => {
    const by = (e.getAttribute("aria-labelledby") ?? "")
      .split(" ")
      .filter(Boolean)
      .map((id) => document.getElementById(id));
    const label = e.id ? document.querySelector(`label[for="${CSS.escape(e.id)}"]`) : null;
    const texts = [
      e.getAttribute("aria-label"),
      ...by.map((one) => one?.textContent),
      label?.textContent,
      e.closest("label")?.textContent,
    ];
    const control = /^(INPUT|SELECT|TEXTAREA)$/.test(e.tagName);
    return (
      [...texts, control ? "" : e.textContent, e.getAttribute("alt"), e.title].find((text) => text?.trim()) ??
      ""
    );
  };

  if (!document.documentElement.lang) found.push("the document has no language");
  if (!document.title.trim()) found.push("the document has no title");
  for (const [selector, most] of [
    ["main", 1],
    ["header", 1],
    ["h1", 1],
  ]) {
    if (all(selector).length !== most)
      found.push(`${all(selector).length} elements ${selector}, not ${most}`);
  }
  for (const e of all("nav")) if (!name(e)) say("a navigation without a label", e);
  for (const e of all(
    "a[href], button, input:not([tabindex='-1']), select, textarea, summary, [role=region], svg[role=img], dialog[open]",
  )) {
    if (!name(e)) say("a control without a name", e);
  }
  for (const e of all("img")) if (e.getAttribute("alt") === null) say("an image without alt", e);
  for (const e of document.querySelectorAll("[id]")) {
    if (document.querySelectorAll(`[id="${CSS.escape(e.id)}"]`).length > 1) say("an id twice", e);
  }
  for (const e of all("[aria-describedby], [aria-labelledby]")) {
    for (const id of `${e.getAttribute("aria-describedby") ?? ""} ${e.getAttribute("aria-labelledby") ?? ""}`
      .split(" ")
      .filter(Boolean)) {
      if (!document.getElementById(id)) say(`refers to ${id}, which is not there`, e);
    }
  }
  for (const e of all("table")) {
    if (!e.caption?.textContent) say("a table without a caption", e);
    for (const th of e.querySelectorAll("th")) if (!th.scope) say("a head without scope", th);
  }
  for (const e of all("li")) if (!/^(UL|OL)$/.test(e.parentElement.tagName)) say("an item outside a list", e);
  for (const e of all("[tabindex]")) if (e.tabIndex > 0) say("a tab order of its own", e);
  const scope = document.querySelector("dialog[open]") ?? document;
  let level = scope === document ? 0 : 1;
  for (const e of [...scope.querySelectorAll("h1,h2,h3,h4")].filter(seen)) {
    const own = Number(e.tagName[1]);
    if (own > level + 1) say(`a heading of level ${own} after level ${level}`, e);
    level = own;
  }
  for (const e of all("button, select, input:not([type=checkbox]):not([tabindex='-1'])")) {
    const { width, height } = e.getBoundingClientRect();
    if (Math.min(width, height) < 24 && !e.classList.contains("sort"))
      say(`a target of ${width} by ${height}`, e);
  }
  for (const e of all(".scroll, pre")) {
    if ((e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight) && e.tabIndex < 0)
      say("scrolls, but not by keyboard", e);
  }

  const rgba = (text) => {
    const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return text.startsWith("color(srgb")
      ? [...numbers.slice(0, 3).map((n) => n * 255), numbers[3] ?? 1]
      : [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const luminance = (c) => {
    const [r, g, b] = c
      .slice(0, 3)
      .map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    const layers = [];
    for (let one = e; one; one = one.parentElement)
      layers.unshift(rgba(getComputedStyle(one).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const walker = document.createTreeWalker(scope === document ? document.body : scope, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (
      !walker.currentNode.data.trim() ||
      !seen(e) ||
      e.closest(".unseen, :disabled, title, script, .skip, noscript")
    )
      continue;
    const style = getComputedStyle(e);
    const svg = e instanceof SVGElement;
    const below = ground(svg ? (e.ownerSVGElement ?? e) : e);
    const colour = over(rgba(svg ? style.fill : style.color), below);
    const [a, b] = [luminance(colour), luminance(below)].sort((x, y) => y - x);
    const large =
      parseFloat(style.fontSize) >= 24 ||
      (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}`, e);
  }
  if (document.documentElement.scrollWidth > window.innerWidth) {
    found.push(
      `the page is ${document.documentElement.scrollWidth} wide in a window of ${window.innerWidth}`,
    );
  }
  return found;
}
