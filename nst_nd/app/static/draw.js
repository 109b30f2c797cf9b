// Elements that show signals. Words from files go in as text, never as markup.

export function element(name, about = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (key === "class") made.className = value;
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...inside);
  return made;
}

// One picture of a signal: an image, a spectrogram with its axes, paper, or one of the slices of a volume.
export class Picture {
  constructor(title, main = false) {
    this.title = title;
    this.main = main;
    this.frame = element("div", { class: "frame" });
    this.caption = element("figcaption");
    this.figure = element("figure", { hidden: true }, element("h3", { textContent: title }), this.frame, this.caption);
    this.share = 0.5;
    this.form = null;
  }

  // facts: as the server gives them; address: of the PNG. A promise that is kept once it has come, or will not.
  show(facts, address) {
    this.figure.hidden = false;
    if (this.form !== facts.form) this.build(facts);
    this.facts = facts;
    this.caption.textContent = facts.caption;
    const said = `${this.title}: ${facts.caption}`;
    if (facts.form === "slices") {
      this.view.setAttribute("aria-label", said);
      const sheet = new Image();
      sheet.addEventListener("load", () => { this.sheet = sheet; this.draw(); });
      return fetched(sheet, address);
    }
    this.view.alt = said;
    this.link.href = address;
    return fetched(this.view, address);
  }

  build(facts) {
    this.form = facts.form;
    this.figure.className = [facts.form, this.main ? "main" : "", facts.width < 600 ? "grown" : ""].join(" ").trim();
    this.frame.replaceChildren();
    if (facts.form === "slices") {
      this.view = element("canvas", { width: facts.width, height: facts.height, role: "img" });
      this.frame.append(this.view);
      for (const [n, side] of (facts.sides ?? []).entries()) {
        this.frame.append(element("span", { class: `side ${n ? "last" : "first"}`, textContent: side, "aria-hidden": "true" }));
      }
      return;
    }
    this.view = element("img", { width: facts.width, height: facts.height });
    this.link = element("a", { target: "_blank", rel: "noopener", "aria-label": `${this.title}, on its own in a new tab` }, this.view);
    this.frame.append(this.link);
    if (facts.axes) {
      for (const [place, words] of [["top", facts.axes.top], ["left", facts.axes.left], ["right", facts.axes.right]]) {
        this.frame.append(element("span", { class: `tick ${place}`, textContent: words }));
      }
    }
  }

  // share: 0 to 1 through the slices.
  slice(share) {
    this.share = share;
    this.draw();
  }

  at() {
    return Math.round(this.share * (this.facts.slices.length - 1));
  }

  draw() {
    if (!this.sheet || this.form !== "slices") return;
    const { width, height, columns } = this.facts;
    const n = this.at();
    const [x, y] = [(n % columns) * width, Math.floor(n / columns) * height];
    this.view.getContext("2d").drawImage(this.sheet, x, y, width, height, 0, 0, width, height);
  }
}

function fetched(image, address) {
  return new Promise((resolve) => {
    for (const end of ["load", "error"]) image.addEventListener(end, resolve, { once: true });
    image.src = address;
  });
}

// The loss over the steps, on a logarithmic scale where it is above 0 throughout.
export class Curve {
  constructor() {
    const ns = "http://www.w3.org/2000/svg";
    this.svg = document.createElementNS(ns, "svg");
    this.svg.setAttribute("viewBox", "0 0 100 100");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.line = document.createElementNS(ns, "polyline");
    this.svg.append(this.line);
    this.high = element("span");
    this.low = element("span", { class: "low" });
    this.from = element("span");
    this.to = element("span");
    this.element = element("div", { class: "curve", hidden: true }, this.high, this.svg, this.low,
      element("div", { class: "axis" }, this.from, this.to));
  }

  show(losses) {
    this.element.hidden = losses.length < 2;
    if (losses.length < 2) return;
    const values = losses.map(([, loss]) => loss);
    const log = values.every((value) => value > 0);
    const scaled = values.map((value) => (log ? Math.log(value) : value));
    const [least, most] = [Math.min(...scaled), Math.max(...scaled)];
    const points = losses.map(([step], n) => {
      const y = most > least ? 95 - (90 * (scaled[n] - least)) / (most - least) : 50;
      return `${(100 * step) / losses.at(-1)[0]},${y}`;
    });
    this.line.setAttribute("points", points.join(" "));
    const first = values[0].toPrecision(3), last = values.at(-1).toPrecision(3);
    this.svg.setAttribute("aria-label", `Loss over the steps: ${first} at first, ${last} now`);
    this.high.textContent = Math.max(...values).toPrecision(3);
    this.low.textContent = Math.min(...values).toPrecision(3);
    this.from.textContent = `loss${log ? ", logarithmic" : ""}`;
    this.to.textContent = `step ${losses.at(-1)[0]}`;
  }
}

export function size(bytes) {
  for (const [unit, step] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (bytes >= step) return `${(bytes / step).toPrecision(3)} ${unit}`;
  }
  return `${bytes} bytes`;
}

export function clock(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`;
}
