// The page: what was dropped, what is asked for, and the jobs.
import { Picture, element, size } from "./draw.js";
import { JobCard } from "./job.js";
import { knobs } from "./knobs.js";

const $ = (id) => document.getElementById(id);
const ACTIVE = ["queued", "running", "stopping"];
const PARTS = /\.(hea|dat|hdr|img|atr|qrs|ecg)$/i;
const WRITTEN = { stop: "POST", keep: "POST", remove: "DELETE" };
let about = null;
let settings = () => ({});

// What the browser remembers, which may be forbidden to pages.
const remembered = {
  get(store, key) { try { return window[store].getItem(key); } catch { return null; } },
  set(store, key, value) { try { window[store].setItem(key, value); } catch { /* the page does without */ } },
  remove(store, key) { try { window[store].removeItem(key); } catch { /* as above */ } },
};

async function ask(path, method = "GET", body = undefined, type = "application/json", signal = undefined) {
  const headers = body === undefined ? {} : { "Content-Type": type };
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, signal, credentials: "omit", cache: "no-store" });
  } catch {
    if (signal?.aborted) throw Object.assign(new Error("given up"), { aborted: true });
    throw Object.assign(new Error("the app does not answer"), { gone: true });
  }
  $("gone").hidden = true;
  if (answer.status === 204) return null;
  const said = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Error(said.error);
  return said;
}

function complain(error) {
  if (error.gone) $("gone").hidden = false;
  $("error").textContent = error.message;
}

// Files of one name belong together where one describes the others: WFDB, ANALYZE.
const together = (names) => new Set(names.map((name) => name.split(".")[0])).size === 1 && names.every((name) => PARTS.test(name));

// A place where files are dropped.
class Drop {
  constructor(role) {
    this.role = role;
    this.box = $(role);
    this.words = this.box.querySelector(".words");
    this.invitation = this.words.textContent;
    this.shown = this.box.querySelector(".shown");
    this.input = this.box.querySelector("input");
    this.clear = this.box.querySelector(".clear");
    this.slot = null;
    this.waiting = 0;
    this.input.addEventListener("change", () => { this.take([...this.input.files]); this.input.value = ""; });
    this.clear.addEventListener("click", () => { this.forget(); this.input.focus(); });
    this.box.addEventListener("dragover", () => this.box.classList.add("over"));
    this.box.addEventListener("dragleave", () => this.box.classList.remove("over"));
  }

  // One after the other; what is still coming is given up where the new files take its place.
  take(files) {
    this.box.classList.remove("over");
    $("error").textContent = "";
    if (!files.length) return;
    const names = files.map((file) => file.name);
    if (!together([...(this.coming ?? []), ...names])) this.upload?.abort();
    const before = this.taking;
    this.coming = [...(this.coming ?? []), ...names];
    this.waiting += 1;
    $("start").disabled = true;
    this.taking = (async () => {
      await before;
      await this.receive(files, names);
      this.waiting -= 1;
      if (!this.waiting) this.coming = null;
      renew();
    })();
  }

  get busy() { return this.waiting > 0; }

  async receive(files, names) {
    this.upload = new AbortController();
    const { signal } = this.upload;
    const here = this.slot?.files.map((file) => file.name) ?? [];
    try {
      if (names.length > 1 && !together(names)) {
        throw new Error("these files do not belong together: drop one, or a header with its data");
      }
      const large = files.find((file) => file.size > about.most);
      if (large) throw new Error(`${large.name} has ${size(large.size)}, more than the ${size(about.most)} that are allowed;\nstart the app with --max-upload for more`);
      if (!together([...here, ...names])) await this.empty();
      this.say("uploading ...");
      this.clear.hidden = false;
      const slot = this.slot ??= await ask("api/slots", "POST");
      for (const file of files) {
        const at = `api/slots/${slot.slot}?name=${encodeURIComponent(file.name)}`;
        const now = await ask(at, "PUT", file, "application/octet-stream", signal);
        if (signal.aborted) throw Object.assign(new Error("given up"), { aborted: true });
        this.slot = now;
      }
      this.refused = false;
      this.show();
    } catch (error) {
      if (error.gone) complain(error);
      if (this.slot && !this.slot.files.length) await this.empty();
      if (error.aborted) return;
      this.refused = true; // nothing starts with a file whose name is not shown any more
      this.say(error.message, true);
    } finally {
      this.clear.hidden = !this.slot;
    }
  }

  say(words, bad = false) {
    this.words.textContent = words;
    this.words.classList.toggle("bad", bad);
    if (bad) $("live").textContent = `${this.role}: ${words}`;
  }

  show() {
    const { files, words, error } = this.slot;
    remembered.set("sessionStorage", this.role, this.slot.slot);
    this.box.classList.add("full");
    this.clear.hidden = false;
    this.say("");
    this.words.append(element("strong", { textContent: files.map((file) => file.name).join(", ") }), `\n${error || words}`);
    this.words.classList.toggle("bad", Boolean(error));
    $("live").textContent = `${this.role}: ${files.map((file) => file.name).join(", ")}, ${error || words}`;
    this.drawing = this.picture();
    renew();
  }

  async picture() {
    this.shown.replaceChildren();
    if (!this.slot?.kind) return;
    const at = `api/slots/${this.slot.slot}`, preset = `?preset=${encodeURIComponent($("preset").value)}`;
    const slot = this.slot;
    try {
      const facts = await ask(`${at}/view.json${preset}`);
      if (this.slot !== slot) return;
      const picture = new Picture(this.role);
      const come = picture.show(facts, `${at}/view.png${preset}&of=${encodeURIComponent(slot.words)}`);
      picture.link?.replaceWith(picture.view);
      this.shown.replaceChildren(picture.view);
      await come;
    } catch (error) {
      if (this.slot === slot) this.words.append(`\n${error.message}`);
    }
  }

  async forget() {
    this.upload?.abort();
    await this.empty();
  }

  async empty() {
    const { slot, drawing } = this;
    this.slot = null;
    this.refused = false;
    remembered.remove("sessionStorage", this.role);
    this.box.classList.remove("full");
    this.clear.hidden = true;
    this.shown.replaceChildren();
    this.say(this.invitation);
    renew();
    await drawing;  // it is still asked for
    if (slot) await ask(`api/slots/${slot.slot}`, "DELETE").catch(() => null);
  }

  async restore() {
    const name = remembered.get("sessionStorage", this.role);
    if (!name) return;
    this.slot = await ask(`api/slots/${name}`).catch(() => null);
    if (this.slot?.files.length) this.show();
    else await this.forget();
  }

  async look(kind, rate) {
    if (!this.unsaid()) return;
    this.slot = await ask(`api/slots/${this.slot.slot}/look`, "POST", JSON.stringify({ kind, rate }));
    this.show();
  }

  unsaid() {
    const open = this.slot && (this.slot.error || Object.keys(this.slot.options).length);
    return Boolean(open && this.slot.files.some((file) => /\.(npy|csv)$/i.test(file.name)));
  }
}

const drops = [];

// What can be chosen now, by the files that are there.
function renew() {
  const kinds = drops.map((drop) => drop.slot?.kind).filter(Boolean);
  const preset = $("preset"), before = preset.value;
  const fitting = Object.entries(about.presets).filter(([, offer]) => offer.kind === kinds[0]).map(([name]) => name);
  $("unsaid").hidden = !drops.some((drop) => drop.unsaid());
  if (fitting.join() !== [...preset.options].map((option) => option.value).join()) {
    preset.replaceChildren(...fitting.map((name) => new Option(name, name)));
    preset.disabled = !fitting.length;
    if (fitting.includes(before)) preset.value = before;
    chosen();
  }
  const mixed = kinds.length === 2 && kinds[0] !== kinds[1];
  $("error").textContent = mixed ? `the content is of kind ${kinds[0]}, the style of kind ${kinds[1]}; they must be alike` : "";
  $("start").disabled = kinds.length < 2 || mixed || drops.some((drop) => drop.busy || drop.refused);
}

function chosen() {
  const offer = about.presets[$("preset").value];
  $("preset-help").textContent = offer ? `${offer.help}.` : "Drop files first: presets go with their kind.";
  if (offer) settings = knobs($("knobs"), offer);
  else $("knobs").replaceChildren();
  for (const drop of drops) if (drop.slot?.kind === "volume") drop.drawing = Promise.all([drop.drawing, drop.picture()]);
}

async function start(event) {
  event.preventDefault();
  $("error").textContent = "";
  const unread = [...$("form").querySelectorAll("input")].find((input) => input.validity.badInput);
  if (unread) {
    unread.focus();
    complain(new Error(`${unread.getAttribute("aria-label") ?? "a field"} is no number`));
    return;
  }
  $("start").disabled = true;
  try {
    const [content, style] = drops.map((drop) => drop.slot.slot);
    const job = await ask("api/jobs", "POST", JSON.stringify({ content, style, preset: $("preset").value, settings: settings() }));
    for (const card of cards.values()) card.element.open = false;
    await look(job.name);
    const card = cards.get(job.name)?.element;
    card?.querySelector("summary").focus({ preventScroll: true });
    card?.scrollIntoView({ block: "nearest" });
  } catch (error) {
    complain(error);
  } finally {
    $("start").disabled = drops.some((drop) => !drop.slot?.kind || drop.busy || drop.refused);
  }
}

const cards = new Map();
let waiting = 0;

async function act(what, job) {
  try {
    const at = what === "remove" ? "" : `/${what}${what === "stop" && job.state === "stopping" ? "?at_once=1" : ""}`;
    await ask(`api/jobs/${job.name}${at}`, WRITTEN[what]);
    if (what === "remove") $("jobs-title").focus({ preventScroll: true });
    await look();
  } catch (error) {
    complain(error);
  }
}

function listed(jobs, opened) {
  const names = new Set(jobs.map((job) => job.name));
  for (const [name, card] of cards) if (!names.has(name)) { card.element.remove(); cards.delete(name); }
  const first = cards.size === 0;
  for (const job of [...jobs].reverse()) {
    const card = cards.get(job.name);
    if (!card) {
      const made = new JobCard(job, act);
      cards.set(job.name, made);
      $("jobs").prepend(made.element);
    } else {
      if (card.job.state !== job.state && !ACTIVE.includes(job.state)) $("live").textContent = `${job.output}: ${job.state}`;
      card.update(job);
    }
  }
  if (opened) cards.get(opened).element.open = true;
  else if (first && jobs.length) cards.get((jobs.find((job) => job.state === "running") ?? jobs[0]).name).element.open = true;
  $("none").hidden = jobs.length > 0;
}

async function look(opened) {
  clearTimeout(waiting);
  let soon = 3000;
  try {
    const { jobs } = await ask("api/jobs");
    listed(jobs, opened);
    if (jobs.some((job) => ACTIVE.includes(job.state))) soon = document.hidden ? 3000 : 400;
  } catch (error) {
    if (!error.gone) throw error;
    $("gone").hidden = false;
  } finally {
    clearTimeout(waiting);
    waiting = setTimeout(look, soon);
  }
}

function dropping() {
  const into = (event) => drops.find((drop) => drop.box.contains(event.target)) ?? drops.find((drop) => !drop.slot) ?? drops[0];
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const drop = into(event);
    drop.box.classList.remove("over");
    const folder = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
    if (folder) drop.say("folders are not taken here (a DICOM series is for nst-nd stylize); drop a file", true);
    else drop.take([...event.dataTransfer.files]);
  });
}

function theming() {
  const theme = $("theme");
  const apply = () => {
    if (theme.value) document.documentElement.dataset.theme = theme.value;
    else delete document.documentElement.dataset.theme;
  };
  theme.value = remembered.get("localStorage", "theme") ?? "";
  apply();
  theme.addEventListener("change", () => { remembered.set("localStorage", "theme", theme.value); apply(); });
}

async function begin() {
  theming();
  try {
    about = await ask("api/about");
  } catch (error) {
    complain(error);
    return;
  }
  $("kept").textContent = `, which go to ${about.kept}`;
  $("kind").append(...about.kinds.map((kind) => new Option(kind, kind)));
  drops.push(new Drop("content"), new Drop("style"));
  dropping();
  $("form").addEventListener("submit", start);
  $("preset").addEventListener("change", chosen);
  for (const id of ["kind", "rate"]) {
    $(id).addEventListener("change", async () => {
      const rate = $("rate").value === "" ? null : Number($("rate").value);
      for (const drop of drops) await drop.look($("kind").value || null, rate).catch(complain);
    });
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  for (const drop of drops) await drop.restore();
  await look();
  document.body.dataset.ready = "yes";
}

begin();
