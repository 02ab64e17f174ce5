// Tokens coloured by their values, after circuitsvis: red above zero, blue below, as far as minValue and maxValue.
// What a token holds is shown as text alone: hidden characters by their code, line breaks as ⏎ and a break.

const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]/gu;
const SHOWN = { "\n": "⏎", "\t": "⇥" };
const code = (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
const visible = (token) => token.replace(HIDDEN, (c) => SHOWN[c] ?? code(c));

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.setAttribute("role", "tooltip");
document.body.append(tip);

const hide = () => { tip.hidden = true; };

const show = (span, lines) => {
  tip.replaceChildren(...lines.map(([name, value]) => {
    const line = document.createElement("div");
    const label = document.createElement("span");
    label.textContent = name;
    line.append(label, value);
    return line;
  }));
  tip.hidden = false;
  const box = span.getClientRects()[0];
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(Math.max(box.left, 8), document.documentElement.clientWidth - width - 8);
  const top = box.top > height + 12 ? box.top - height - 6 : box.bottom + 6;
  tip.style.left = `${Math.max(left, 8)}px`;
  tip.style.top = `${top}px`;
};

export const ColoredTokens = (element, { tokens, values, minValue, maxValue }) => {
  const first = Number(element.dataset.first ?? 0);
  const peak = Number(element.dataset.peak ?? -1) - first;
  const spans = tokens.map((token, i) => {
    const span = document.createElement("span");
    const limit = values[i] < 0 ? minValue : maxValue;
    const share = limit ? Math.min(Math.round((100 * values[i]) / limit), 100) : 0;
    if (share >= 1) {
      span.className = values[i] < 0 ? "negative" : "positive";
      span.style.setProperty("--share", `${share}%`);
    }
    if (i === peak) span.classList.add("peak");
    span.dataset.at = i;
    span.textContent = visible(token);
    return span;
  });
  element.classList.add("tokens");
  element.dir = "auto";
  element.replaceChildren(...spans.flatMap((span, i) => (tokens[i].includes("\n") ? [span, "\n"] : [span])));
  element.addEventListener("mouseover", ({ target }) => {
    const i = target.dataset?.at;
    if (i === undefined) return hide();
    show(target, [
      ["token", `“${visible(tokens[i])}”`],
      ["position", `${first + Number(i)}`],
      ["value", values[i].toFixed(6)],
    ]);
  });
  element.addEventListener("mouseleave", hide);
};

export const render = (id, component, properties) => {
  const element = document.getElementById(id);
  const details = element.closest("details");
  if (!details || details.open || element.closest("summary")) return component(element, properties);
  details.addEventListener("toggle", () => component(element, properties), { once: true });
};

document.addEventListener("scroll", hide, { passive: true });
document.addEventListener("keydown", (event) => {
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  if (!rel || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  document.querySelector(`nav a[rel=${rel}]`)?.click();
});
