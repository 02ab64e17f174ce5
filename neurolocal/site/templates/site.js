"use strict";
// The script of all pages: values of tokens, whole rows, a layer's table, the search, a random neuron.
// Data come from script files (`neurolocal.take`), which also load where a page has no server. Text of others is only
// ever set as textContent.
window.neurolocal = (() => {
  const root = document.body.dataset.root;
  const waiting = new Map();
  const verdicts = document.body.dataset.verdicts.split(" ");

  const take = (name, data) => waiting.get(name)?.resolve(data);

  /** The data of a script file of the site, loaded once. */
  const load = (name) => {
    if (!waiting.has(name)) {
      const entry = {};
      entry.data = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
      waiting.set(name, entry);
      const script = document.createElement("script");
      script.src = `${root}${name}.js`;
      script.addEventListener("error", () => {
        waiting.delete(name);
        entry.reject(new Error(`${name}.js of this site cannot be read`));
      });
      document.head.append(script);
    }
    return waiting.get(name).data;
  };

  /** An element with properties, and children that are elements or text. */
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const page = (layer, neuron) => `${root}neuron/${layer}/${neuron}.html`;
  const count = (n) => n.toLocaleString("en");
  const fixed = (v, digits = 2) => (v === null ? "–" : v.toFixed(digits));
  const percent = (v) => (v === null ? "–" : `${Math.round(100 * v)} %`);
  const number = (v) =>
    v === null || Number.isNaN(v) ? "–" : Math.abs(v) >= 0.1 || v === 0 ? v.toFixed(2) : String(Number(v.toPrecision(2)));
  const chip = (at) => make("span", { className: `chip ${verdicts[at] ?? "none"}` }, verdicts[at] ?? "no verdict");
  const bdi = (text) => make("bdi", {}, text);

  /** A text as Python's `casefold` gives it, in which the terms of the search are; of Cherokee it gives the small letters. */
  const fold = (text) =>
    Array.from(text, (c) => (c === "ı" ? c : c.toLowerCase().toUpperCase().toLowerCase())).join("");

  return { take, load, make, page, count, fixed, percent, number, chip, bdi, fold, verdicts, root };
})();

// The value of the token that is pointed at, or moved to with the arrow keys.
(() => {
  const { make, number } = window.neurolocal;
  const windows = document.getElementsByClassName("w");
  if (!windows.length) return;
  const tip = make("div", { className: "tip", hidden: true, id: "tip" });
  tip.setAttribute("role", "status");
  document.body.append(tip);
  let on = null;

  const words = (window_, token) => {
    const at = Array.prototype.indexOf.call(window_.children, token);
    const values = window_.dataset.a.split(" ");
    const id = window_.dataset.t?.split(" ")[at];
    const value = Number(values[at]);
    const peak = Number(values[Array.prototype.findIndex.call(window_.children, (one) => one.localName === "mark")]);
    const share = Number.isNaN(value) || !peak ? "" : ` · ${Math.round((100 * value) / peak)} % of the peak`;
    return `${Number.isNaN(value) ? "activation not stored" : number(value) + share}${id ? ` · token ${id}` : ""}`;
  };

  const show = (token) => {
    on?.classList.remove("on");
    on = token;
    tip.hidden = !token;
    if (!token) return;
    token.classList.add("on");
    const value = words(token.parentElement, token);
    tip.textContent = token.textContent.trim() ? `${token.textContent.trim().slice(0, 40)}: ${value}` : value;
    const box = token.getClientRects()[0];
    if (!box) return;
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(left, 4) + scrollX}px`;
    tip.style.top = `${box.bottom + 6 + scrollY}px`;
  };

  const tokenOf = (target) => {
    const token = target instanceof Element ? target.closest(".w > *") : null;
    return token?.parentElement.dataset.a ? token : null;
  };
  const prepare = (window_) => {
    window_.tabIndex = 0;
    window_.setAttribute("role", "group");
    window_.setAttribute("aria-label", "Text; arrow keys give the value of each token");
  };

  Array.from(windows).forEach(prepare);
  document.addEventListener("mouseover", (event) => show(tokenOf(event.target)));
  document.addEventListener("focusin", (event) => {
    if (event.target.classList.contains("w")) show(event.target.querySelector("mark"));
  });
  document.addEventListener("focusout", () => show(null));
  document.addEventListener("keydown", (event) => {
    const focused = document.activeElement;
    if (event.key === "Escape") show(null);
    if (!focused?.classList.contains("w") || event.ctrlKey || event.altKey || event.metaKey) return;
    const now = on?.parentElement === focused ? on : focused.querySelector("mark");
    const next = { ArrowRight: now?.nextElementSibling, ArrowLeft: now?.previousElementSibling,
                   Home: focused.firstElementChild, End: focused.lastElementChild }[event.key];
    if (next) {
      event.preventDefault();
      next.scrollIntoView({ block: "nearest" });
      show(next);
    }
  });
  Object.assign(window.neurolocal, { prepare });
})();

// The whole row of an example, on demand.
(() => {
  const { load, make, prepare } = window.neurolocal;
  const per = Number(document.body.dataset.per);
  if (!per) return;

  /** Position in the row -> the element of the window, and its value. */
  const known = (window_, start) => {
    const found = new Map();
    const values = window_.dataset.a.split(" ");
    let position = start;
    window_.dataset.t.split(" ").forEach((ids, at) => {
      found.set(position, { element: window_.children[at], value: values[at], ids });
      position += ids.split("+").length;
    });
    return found;
  };

  const whole = (texts, window_, start) => {
    const at = known(window_, start);
    const row = make("p", { className: "w whole", dir: "auto" });
    const values = [], ids = [];
    texts.forEach((text, position) => {
      const here = at.get(position);
      if (!text && !here) return;
      const mark = here?.element.localName === "mark";
      row.append(make(mark ? "mark" : "i", { className: here?.element.className ?? "" }, mark ? text.trim() || text : text));
      if (mark && text.startsWith(" ") && text.trim()) row.lastChild.before(" ");
      values.push(here?.value ?? "nan");
      ids.push(here?.ids ?? "");
    });
    row.dataset.a = values.join(" ");
    row.dataset.t = ids.join(" ");
    prepare(row);
    return row;
  };

  for (const item of document.querySelectorAll("li[data-r]")) {
    const [at, window_] = [item.querySelector(".at"), item.querySelector(".w")];
    const button = make("button", { type: "button" }, "whole row");
    button.setAttribute("aria-expanded", "false");
    at.append(" ", button);
    let row = null;
    button.addEventListener("click", async () => {
      const place = Number(item.dataset.r);
      try {
        const rows = await load(`rows/${Math.floor(place / per)}`);
        row ??= item.appendChild(whole(rows[place % per], window_, Number(item.dataset.p)));
      } catch (error) {
        button.replaceWith(make("span", {}, error.message));
        return;
      }
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      row.hidden = !open;
      if (open) {
        const mark = row.querySelector("mark");
        if (mark) row.scrollTop = mark.offsetTop - row.offsetTop - row.clientHeight / 2;
      }
    });
  }
})();

// A random neuron, and the search field of every page.
(() => {
  const { load, page, root } = window.neurolocal;
  const random = document.getElementById("random");
  if (random) {
    random.hidden = false;
    random.addEventListener("click", async () => {
      const layers = await load("search/neurons");
      const parts = layers.flatMap(([layer, ...ends]) =>
        ends.flatMap((first, i) => (i % 2 ? [] : [[layer, first, ends[i + 1] - first + 1]])));
      let at = Math.floor(Math.random() * parts.reduce((sum, [, , n]) => sum + n, 0));
      for (const [layer, first, n] of parts) {
        if (at < n) {
          location.href = page(layer, first + at);
          return;
        }
        at -= n;
      }
    });
  }
  const form = document.querySelector(".top .find");
  form.hidden = Boolean(document.getElementById("query"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.href = `${root}search.html#${encodeURIComponent(form.querySelector("input").value)}`;
  });
})();

// The table of a layer: all of its neurons, sorted, filtered, and shown page by page.
(() => {
  const { load, make, page, count, fixed, percent, number, chip, bdi, verdicts } = window.neurolocal;
  const table = document.querySelector("table.ranking[data-layer]");
  if (!table) return;
  const SHOWN = 100;
  const collate = new Intl.Collator().compare;
  const { layer, files } = table.dataset;
  const headers = Array.from(table.tHead.rows[0].cells);
  const filter = document.getElementById("filter");
  const boxes = Array.from(document.getElementsByName("verdict"));
  const pagers = Array.from(document.getElementsByClassName("pager"));
  const status = document.querySelector('.pager [role="status"]');
  let rows = [], chosen = [], first = 0, column = 1, down = false;

  const beside = (value, null_, form) =>
    value === null ? ["–"] : [make("b", {}, form(value)), " ", make("span", { className: "null" }, `(${form(null_)})`)];
  const cells = ([neuron, rank, score, verdict, description, words, similar, random, half, control, told, largest, other]) => [
    ["r", rank === null ? "–" : String(rank)],
    ["r", make("a", { href: page(layer, neuron) }, String(neuron))],
    ["r", fixed(score, 3)],
    ["", chip(verdict)],
    ["wide", bdi(description || "–")],
    ["words", bdi(words || "–")],
    ["r", ...beside(similar, random, fixed)],
    ["r", ...beside(half, control, percent)],
    ["r", ...beside(told, other, fixed)],
    ["r", number(largest)],
  ];

  const draw = () => {
    const shown = chosen.slice(first, first + SHOWN);
    table.tBodies[0].replaceChildren(...shown.map((row) =>
      make("tr", {}, ...cells(row).map(([className, ...parts]) => make("td", { className }, ...parts)))));
    const range = chosen.length ? `${count(first + 1)} to ${count(first + shown.length)} of ${count(chosen.length)}` : "none";
    status.textContent = chosen.length === rows.length ? `${range} neurons` : `${range} that match, of ${count(rows.length)} neurons`;
    for (const button of document.querySelectorAll(".pager button")) {
      const at = first + SHOWN * Number(button.dataset.step);
      button.disabled = at < 0 || at >= chosen.length;
    }
  };

  const choose = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = new Set(boxes.filter((box) => !box.checked).map((box) => verdicts.indexOf(box.value)));
    chosen = rows.filter((row) => !off.has(row[3]) && words.every((word) => row.text.includes(word)));
    const sign = down ? -1 : 1;
    const value = column === 3 ? (row) => verdicts[row[3]] ?? "" : (row) => row[column];
    chosen.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      const [no, nor] = [x === null || x === "", y === null || y === ""];
      if (no || nor) return no - nor || a[0] - b[0];
      return sign * (typeof x === "number" ? x - y : collate(x, y)) || a[0] - b[0];
    });
    first = 0;
    draw();
  };

  const begin = () => {
    headers.forEach((header) => {
      const button = make("button", { type: "button" }, header.textContent);
      button.addEventListener("click", () => {
        const mine = Number(header.dataset.column);
        down = column === mine ? !down : [2, 6, 8, 10, 11].includes(mine);
        column = mine;
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        choose();
      });
      header.replaceChildren(button);
    });
    filter.form.addEventListener("submit", (event) => event.preventDefault());
    filter.form.addEventListener("input", choose);
    for (const pager of pagers) {
      pager.addEventListener("click", (event) => {
        if (!event.target.dataset.step) return;
        first += SHOWN * Number(event.target.dataset.step);
        draw();
        if (pager === pagers.at(-1)) pagers[0].scrollIntoView();
      });
      pager.hidden = false;
    }
    filter.form.hidden = false;
  };

  Promise.all(files.split(" ").map((file) => load(`layer/${layer}/rows-${file}`))).then((parts) => {
    rows = parts.flat();
    for (const row of rows) row.text = `${row[0]} ${row[4]} ${row[5]} ${verdicts[row[3]] ?? ""}`.toLowerCase();
    begin();
    choose();
  }, (error) => { status.parentElement.hidden = false; status.textContent = error.message; });
})();

// The search page: tokens, words and descriptions of the whole model.
(() => {
  const { load, make, page, count, chip, bdi, fold } = window.neurolocal;
  const form = document.getElementById("query");
  if (!form) return;
  const input = form.querySelector("input");
  const [found, results] = [document.getElementById("found"), document.getElementById("results")];
  const KEYS = 30, SHOWN = 50;
  let asked = 0;

  const before = (a, b) => {  // by code points, as the files are cut
    const [x, y] = [Array.from(a), Array.from(b)];
    for (let i = 0; i < Math.min(x.length, y.length); i++) {
      if (x[i] !== y[i]) return x[i].codePointAt(0) < y[i].codePointAt(0);
    }
    return x.length < y.length;
  };
  const dots = (text) => text.replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length));

  /** The terms of a kind that begin with a text, at most KEYS. */
  const terms = async (contents, kind, text) => {
    const begins = contents[kind];
    let file = 0;
    while (file + 1 < begins.length && !before(text, begins[file + 1])) file++;
    while (file > 0 && begins[file] === text) file--;
    const matching = [];
    for (; file < begins.length && matching.length < KEYS; file++) {
      const some = await load(`search/${kind}-${file}`);
      matching.push(...some.filter(([term]) => term.startsWith(text)));
      if (!some.at(-1)[0].startsWith(text) && before(text, some.at(-1)[0])) break;
    }
    return matching.slice(0, KEYS);
  };

  /** What the layer's table says of a neuron. */
  const rowOf = async (contents, layer, neuron) => {
    const rows = await load(`layer/${layer}/rows-${Math.floor(neuron / contents.rows)}`);
    return rows.find((row) => row[0] === neuron);
  };

  const table = (heads, rows) => make("div", { className: "scroll", tabIndex: 0 },
    make("table", { className: "ranking" },
      make("thead", {}, make("tr", {}, ...heads.map(([className, text]) => make("th", { className, scope: "col" }, text)))),
      make("tbody", {}, ...rows)));
  const cell = (className, ...parts) => make("td", { className }, ...parts);
  const link = (layer, neuron) => make("a", { href: page(layer, neuron) }, `layer ${layer} · ${neuron}`);

  /** The neurons of a word or a token. */
  const neurons = (contents, [term, total, flat]) => {
    const rows = [];
    for (let i = 0; i < flat.length; i += 4) {
      const [layer, neuron, examples, share] = flat.slice(i, i + 4);
      const [verdict, description] = [cell(""), cell("wide")];
      rowOf(contents, layer, neuron).then((row) => {
        if (row) {
          verdict.append(chip(row[3]));
          description.append(bdi(row[4] || row[5]));
        }
      }, () => {});
      rows.push(make("tr", {}, cell("", link(layer, neuron)), cell("r", `${Math.round(share / 10)} %`),
        cell("r", String(examples)), verdict, description));
    }
    const shown = flat.length / 4;
    const said = total > shown ? `the ${shown} strongest of ${count(total)} neurons` : `${count(total)} neuron${total === 1 ? "" : "s"}`;
    return [make("p", { className: "note" }, bdi(dots(term)), `: ${said} that peak on it`),
      table([["", "neuron"], ["r", "share of its activation"], ["r", "examples"], ["", "verdict"], ["", "description"]], rows)];
  };

  const section = (title, ...children) => make("section", {}, make("h2", {}, title), ...children);

  /** Terms as buttons; the first one's neurons are shown. */
  const choice = (title, contents, list) => {
    const shown = make("div");
    const buttons = list.map((entry, i) => {
      const button = make("button", { type: "button" }, bdi(dots(entry[0])), ` ${count(entry[1])}`);
      button.addEventListener("click", () => {
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
        shown.replaceChildren(...neurons(contents, entry));
      });
      button.setAttribute("aria-pressed", String(i === 0));
      return button;
    });
    shown.append(...neurons(contents, list[0]));
    return section(title, make("ul", { className: "keys" }, ...buttons.map((button) => make("li", {}, button))), shown);
  };

  /** The neurons whose description has all of the words: those of the rarest word, of which the others are required. */
  const described = async (contents, words) => {
    const lists = [];
    for (const word of words) lists.push((await terms(contents, "text", word)).flatMap(([, , list]) => list));
    const listed = lists.map((list) => new Set(list.map(([layer, neuron]) => `${layer} ${neuron}`)));
    const rarest = lists.reduce((a, b) => (b.length < a.length ? b : a), lists[0] ?? []);
    const seen = new Set();
    return rarest.filter(([layer, neuron, , text]) => {
      const key = `${layer} ${neuron}`;
      // A list is cut where many neurons have the word, a text where it is long: either may lack what the other has.
      const fits = !seen.has(key) && words.every((word, i) => listed[i].has(key) || fold(text).includes(word));
      seen.add(key);
      return fits;
    });
  };

  const search = async () => {
    const mine = ++asked;
    const text = input.value;
    history.replaceState(null, "", `#${encodeURIComponent(text)}`);
    if (!text.trim()) {
      results.replaceChildren();
      found.textContent = "";
      return;
    }
    const contents = await load("search/contents");
    const word = fold(text.trim());
    const matching = await terms(contents, "word", word);
    const exact = new Map();
    for (const spelt of new Set([text, ` ${text.trim()}`, text.trim()])) {
      for (const entry of await terms(contents, "token", spelt)) if (entry[0] === spelt) exact.set(spelt, entry);
    }
    const named = await described(contents, word.split(/\s+/));
    if (mine !== asked) return;
    const parts = [];
    if (matching.length) parts.push(choice("Words", contents, matching));
    if (exact.size) parts.push(choice("Tokens", contents, [...exact.values()]));
    if (named.length) {
      const rows = named.slice(0, SHOWN).map(([layer, neuron, verdict, description]) =>
        make("tr", {}, cell("", link(layer, neuron)), cell("", chip(verdict)), cell("wide", bdi(description))));
      const more = named.length > SHOWN ? `, the first ${SHOWN} of ${named.length}` : "";
      parts.push(section(`Descriptions${more}`, table([["", "neuron"], ["", "verdict"], ["", "description"]], rows)));
    }
    results.replaceChildren(...parts);
    found.textContent = parts.length
      ? `${matching.length === KEYS ? `${KEYS} or more` : matching.length} words, ${exact.size} tokens, ${named.length} descriptions`
      : "Nothing: no peak word begins with it, no token is exactly this, and no description has all of its words.";
  };
  const safely = () => search().catch((error) => { found.textContent = error.message; });

  let timer = 0;
  form.addEventListener("submit", (event) => { event.preventDefault(); safely(); });
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(safely, 200); });
  try {
    input.value = decodeURIComponent(location.hash.slice(1));
  } catch {
    input.value = "";
  }
  input.focus();
  safely();
})();
