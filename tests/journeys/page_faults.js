// Looks a page over as a careful reader would, and returns a list of sentences about what is wrong.
() => {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const told = (element) => element.outerHTML.slice(0, 120);

  if (document.documentElement.scrollWidth > window.innerWidth)
    faults.push(`wider than its window: ${document.documentElement.scrollWidth} px`);
  if (all("h1").filter(shown).length !== 1) faults.push(`${all("h1").length} first headings`);
  for (const landmark of ["header", "nav", "main", "footer"])
    if (!document.querySelector(landmark)) faults.push(`no ${landmark}`);
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");

  for (const image of all("img")) {
    if (!image.hasAttribute("alt")) faults.push(`picture without alt: ${told(image)}`);
    if (shown(image) && image.complete && !image.naturalWidth) faults.push(`broken picture: ${told(image)}`);
  }
  for (const field of all("input:not([type=hidden]), select, textarea"))
    if (![...(field.labels ?? [])].some((label) => label.textContent.trim()) && !field.ariaLabel) faults.push(`field without label: ${told(field)}`);
  for (const control of all("a[href], button"))
    if (!control.textContent.trim() && !control.ariaLabel) faults.push(`control without name: ${told(control)}`);
  const seen = new Set();
  for (const { id } of all("[id]")) {
    if (seen.has(id)) faults.push(`id used twice: ${id}`);
    seen.add(id);
  }
  for (const element of all("[aria-describedby], [aria-labelledby]"))
    for (const id of `${element.getAttribute("aria-describedby") ?? ""} ${element.getAttribute("aria-labelledby") ?? ""}`.split(" "))
      if (id && !document.getElementById(id)) faults.push(`points at nothing: ${id}`);
  for (const element of all("*"))
    for (const { name, value } of element.attributes)
      if (name.startsWith("on") || (name === "style" && value && !element.closest(".drawing"))) faults.push(`inline ${name}: ${told(element)}`);

  // Contrast of text with the nearest ground behind it (WCAG 2.2 AA: 4.5 to 1, large text 3 to 1).
  const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([red, green, blue]) => {
    const part = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [red, green, blue, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
      if (alpha === 1 && red !== undefined) return [red, green, blue];
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const poor = new Set();
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !shown(element) || element.closest(":disabled, .unseen, .skip, option, label:has(:disabled)")) continue;
    const style = getComputedStyle(element);
    const pair = [light(channels(style.color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (ratio < least) poor.add(`contrast ${ratio.toFixed(2)}: ${told(element)}`);
  }
  return [...faults, ...poor];
}
