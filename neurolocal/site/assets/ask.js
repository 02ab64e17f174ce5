// The text box of `neurolocal serve`: a text, the activations of neurons on it token by token, and words to replace.
// All text goes into the page as text, never as markup. The server's answer is described in the room's README.
"use strict";
(() => {
  const base = new URL("..", document.currentScript.src);
  const place = document.getElementById("ask");
  if (!place) return;
  const { layer, neuron } = place.dataset;
  const here = layer !== undefined && neuron !== undefined;
  let asking = null; // the AbortController of the question that is being answered
  let before = null; // the answer before the last replacement
  let shown = null; // the answer on the page

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  // The form

  const text = make("textarea", { id: "ask-text", rows: "3", dir: "auto", spellcheck: "false", required: true });
  const pairs = make("input", { id: "ask-pairs", type: "text", placeholder: "14:159, 3:7", size: "16" });
  const choices = [
    ...(here ? [choice("here", `this neuron (${layer}:${neuron})`)] : []),
    choice("strongest", "the neurons that it excites most"),
    choice("pairs", "the neurons (layer:neuron)"),
  ];
  const submit = make("button", { type: "submit" }, "Show activations");
  const status = make("p", { class: "ask-status", role: "status" });
  const problem = make("p", { class: "ask-problem", role: "alert", hidden: true });
  const results = make("div", { class: "ask-results" });
  const form = make(
    "form",
    { class: "ask-form", onsubmit: (event) => (event.preventDefault(), ask(question())) },
    make("label", { for: "ask-text" }, "Text of your own ", make("small", {}, "(Ctrl+Enter sends it)")),
    text,
    make("fieldset", {}, make("legend", {}, "Activations of"), ...choices.map((one) => one.label), pairs),
    submit,
  );
  pairs.setAttribute("aria-label", "Neurons as layer:neuron, separated by commas");
  pairs.addEventListener("input", () => (choices.at(-1).input.checked = true));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  place.append(make("h2", {}, "Ask the model"), form, status, problem, results);
  document.head.append(make("link", { rel: "stylesheet", href: new URL("assets/ask.css", base) }));
  place.hidden = false;

  function choice(value, words) {
    const first = value === (here ? "here" : "strongest");
    const input = make("input", { type: "radio", name: "ask-which", value });
    input.checked = first;
    return { input, label: make("label", {}, input, " ", words) };
  }

  function question() {
    const which = choices.find((one) => one.input.checked).input.value;
    if (which === "here") return { text: text.value, neurons: [[Number(layer), Number(neuron)]] };
    if (which === "strongest") return { text: text.value, strongest: 10 };
    const parts = pairs.value.split(/[\s,]+/).filter(Boolean);
    const found = parts.map((part) => /^(\d{1,6}):(\d{1,9})$/.exec(part));
    if (!parts.length || found.includes(null)) {
      return { problem: "Give neurons as layer:neuron, for example 14:159, 3:7." };
    }
    return { text: text.value, neurons: found.map((match) => [Number(match[1]), Number(match[2])]) };
  }

  // Asking

  async function ask(what, previous = null, focus = null) {
    problem.hidden = true;
    if (what.problem) return fail(what.problem);
    asking?.abort();
    const mine = (asking = new AbortController());
    results.setAttribute("aria-busy", "true");
    status.textContent = "The model is reading the text…";
    try {
      const answer = await fetch(new URL("api/activations", base), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ ...what, text: what.text.toWellFormed?.() ?? what.text }),
        signal: mine.signal,
      });
      if (!answer.ok) return fail((await answer.text()).trim() || `The server answered ${answer.status}.`);
      before = previous;
      show(await answer.json(), focus);
    } catch (error) {
      if (error.name !== "AbortError") fail("The server does not answer. Is `neurolocal serve` still running?");
    } finally {
      if (asking === mine) {
        asking = null;
        results.removeAttribute("aria-busy");
        if (status.textContent.endsWith("…")) status.textContent = "";
      }
    }
  }

  function fail(words) {
    problem.textContent = words;
    problem.hidden = false;
    status.textContent = "";
  }

  // The answer

  function show(answer, focus) {
    shown = answer;
    const n = answer.neurons.length;
    status.textContent = n
      ? `${answer.tokens.length} tokens, ${n} ${n === 1 ? "neuron" : "neurons"}. Choose a token to replace its word.`
      : "No neuron of the store is excited by this text.";
    results.replaceChildren(...answer.neurons.map((one, i) => block(one, i)));
    if (focus === null) return;
    const lines = results.children[focus.row]?.querySelectorAll("[role=toolbar]") ?? []; // before and now
    lines[lines.length - 1]?.querySelector("[tabindex='0']")?.focus();
  }

  function block(one, row) {
    const old = before?.neurons.find((each) => each.layer === one.layer && each.neuron === one.neuron);
    const name = `${one.layer}:${one.neuron}`;
    const values = make("p", { class: "ask-value" }, summary(one));
    const parts = [
      make(
        "h3",
        {},
        make("a", { href: new URL(`neuron/${one.layer}/${one.neuron}.html`, base) }, name),
        ...(one.verdict ? [" ", make("span", { class: `chip ${one.verdict}` }, one.verdict)] : []),
        ...(one.shown ? [" ", make("bdi", {}, one.shown)] : []),
      ),
    ];
    if (old) {
      parts.push(make("p", { class: "ask-change" }, change(old, one)), make("p", { class: "ask-before" }, "Before:"));
      parts.push(line(before, old, `Neuron ${name}, before the replacement`, values, null));
      parts.push(make("p", { class: "ask-before" }, "Now:"));
    }
    parts.push(line(shown, one, `Neuron ${name}`, values, row), values);
    return make("section", { class: "ask-neuron" }, ...parts);
  }

  function summary(one) {
    if (one.peak === null) return "It has no peak on this text.";
    return `Peak: ${told(shown, one, one.peak)}`;
  }

  function change(old, one) {
    const share = (each) => (each.peak_share === null ? "" : ` (${percent(each.peak_share)} of its largest)`);
    const peak = (each) => (each.peak_activation === null ? "–" : number(each.peak_activation)) + share(each);
    return `Peak ${peak(old)} → ${peak(one)}`;
  }

  // One row of tokens. One of them takes part in the tab order; the arrow keys move among them.
  function line(answer, one, label, values, row) {
    const buttons = answer.tokens.map((token, i) => {
      const words = told(answer, one, i);
      const button = make(
        "button",
        {
          type: "button",
          class: `ask-token s${shade(one, i)}${i === one.peak ? " ask-peak" : ""}${token.special ? " ask-special" : ""}`,
          title: words,
          "aria-label": words,
          tabindex: i === (one.peak ?? 0) ? "0" : "-1",
          onfocus: () => (values.textContent = words),
          onmouseenter: () => (values.textContent = words),
          onclick: (event) => row !== null && replaceAt(i, row, event.currentTarget),
        },
        make("bdi", {}, token.shown),
      );
      return button;
    });
    const pieces = buttons.flatMap((button, i) => (answer.tokens[i].text.endsWith("\n") ? [button, make("br")] : [button]));
    const group = make("div", { class: "ask-line", role: "toolbar", "aria-label": label, dir: "auto" }, ...pieces);
    group.addEventListener("keydown", (event) => {
      const rtl = getComputedStyle(group).direction === "rtl" ? -1 : 1;
      const at = buttons.indexOf(document.activeElement);
      const to = { ArrowRight: at + rtl, ArrowLeft: at - rtl, Home: 0, End: buttons.length - 1 }[event.key];
      if (at < 0 || to === undefined || !buttons[to]) return;
      event.preventDefault();
      buttons[at].tabIndex = -1;
      buttons[to].tabIndex = 0;
      buttons[to].focus();
    });
    return group;
  }

  function shade(one, i) {
    const value = one.activations[i];
    if (value === null) return 0;
    const top = one.peak_activation;
    const share = one.shares[i] ?? (top > 0 ? value / top : 0); // of a peak of the other sign nothing is shaded
    return Math.round(10 * Math.min(Math.max(share, 0), 1));
  }

  function told(answer, one, i) {
    const token = answer.tokens[i];
    const value = one.activations[i];
    const parts = [`${token.shown.trim() || "space"} (id ${token.id}): ${value === null ? "not read" : number(value)}`];
    if (one.shares[i] !== null) parts.push(`${percent(one.shares[i])} of its largest`);
    if (one.quantiles[i] !== null) parts.push(`above ${(100 * one.quantiles[i]).toFixed(2)} % of the corpus`);
    return parts.join(", ");
  }

  const number = (value) => (Math.abs(value) >= 0.1 || value === 0 ? value.toFixed(2) : value.toPrecision(2));
  const percent = (share) => `${Math.round(100 * share)} %`;

  // Replacing a word

  function replaceAt(i, row, button) {
    const span = spanOf(i);
    results.querySelector(".ask-replace")?.remove();
    if (!span) {
      status.textContent = "This token cannot be replaced: it is a control token, or its place in the text is unknown.";
      return;
    }
    const points = Array.from(shown.text); // offsets count code points, not UTF-16
    const old = points.slice(...span).join("");
    const input = make("input", { type: "text", id: "ask-word", dir: "auto", autocomplete: "off", spellcheck: "false" });
    input.value = old;
    const close = () => (panel.remove(), button.focus());
    const panel = make(
      "form",
      {
        class: "ask-replace",
        onsubmit: (event) => {
          event.preventDefault();
          text.value = points.slice(0, span[0]).join("") + input.value + points.slice(span[1]).join("");
          const neurons = shown.neurons.map((one) => [one.layer, one.neuron]);
          ask({ text: text.value, neurons }, shown, { row });
        },
        onkeydown: (event) => event.key === "Escape" && (event.preventDefault(), close()),
      },
      make("label", { for: "ask-word" }, "Replace ", make("q", {}, make("bdi", {}, old)), " by "),
      input,
      make("button", { type: "submit" }, "Replace"),
      make("button", { type: "button", onclick: close }, "Cancel"),
    );
    button.parentElement.after(panel);
    input.focus();
    input.select();
  }

  // Where the word of a token is in the text; of a token without a word, the token itself.
  function spanOf(i) {
    const start = shown.starts[i];
    if (start === null) return null;
    const later = shown.starts.slice(i + 1).find((each) => each !== null && each > start);
    const end = later ?? Array.from(shown.text).length;
    return shown.words.findLast(([first, stop]) => first < end && stop > start) ?? [start, end];
  }
})();
