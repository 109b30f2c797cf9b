// One job on the page: what it was asked, how far it is, what it looks like, what can be done with it.
import { Curve, Picture, clock, element, size } from "./draw.js";

const STATES = { queued: "waiting", running: "running", stopping: "stopping", done: "done", stopped: "stopped", failed: "failed" };
const FILES = { result: "Result", companion: "Its data", sidecar: "Sidecar", yaml: "YAML" };
const PLAYED = /\.(wav|flac|ogg|oga|opus)$/i;
const ENDED = ["done", "stopped", "failed"];

export class JobCard {
  // act: what a button does, by its name and the job's.
  constructor(job, act) {
    this.act = (what) => act(what, this.job);
    this.title = element("span", { class: "title" });
    this.badge = element("span", { class: "badge" });
    this.from = element("span", { class: "from" });
    this.bar = element("progress", { max: 1, "aria-label": "Progress" });
    this.words = element("p");
    this.going = element("div", { class: "going" }, this.bar, this.words);
    this.error = element("p", { class: "error" });
    this.pictures = { result: new Picture("Result", true), content: new Picture("Content"), style: new Picture("Style") };
    this.views = element("div", { class: "views" }, ...Object.values(this.pictures).map((picture) => picture.figure));
    this.slicing = this.slider();
    this.curve = new Curve();
    this.warnings = element("ul", { class: "warnings", hidden: true });
    this.notes = element("ul");
    this.notesBox = element("details", { class: "more", hidden: true }, element("summary", { textContent: "Notes" }), this.notes);
    this.metrics = element("tbody");
    this.metricsBox = element("details", { class: "more", hidden: true }, element("summary", { textContent: "Metrics" }),
      element("table", {}, this.metrics));
    this.buttons = Object.fromEntries([["stop", "Stop"], ["keep", "Keep"], ["remove", "Remove"]].map(([what, words]) => {
      const button = element("button", { type: "button", class: what, textContent: words });
      button.addEventListener("click", () => {
        // a second click of the same hand is no second wish: the button may say something else by then
        if (button.ariaDisabled === "true") return;
        button.ariaDisabled = "true"; // a disabled one would lose the focus
        setTimeout(() => { button.ariaDisabled = "false"; }, 1000);
        this.act(what);
      });
      return [what, button];
    }));
    this.files = element("div", { class: "row files" });
    this.kept = element("p", { class: "kept" });
    this.element = element("details", { class: "job" },
      element("summary", {}, this.title, this.badge, this.from),
      element("div", { class: "body" }, this.going,
        element("div", { class: "row" }, this.files, ...Object.values(this.buttons)), this.kept, this.error, this.warnings,
        this.slicing, this.views, this.curve.element, this.metricsBox, this.notesBox));
    this.drawn = {};
    this.update(job);
  }

  slider() {
    this.range = element("input", { type: "range", min: 0, max: 1000, value: 500, "aria-label": "Slice" });
    this.place = element("output");
    this.range.addEventListener("input", () => this.slice());
    return element("div", { class: "slicing", hidden: true }, element("span", { textContent: "Slice", "aria-hidden": "true" }), this.range, this.place);
  }

  slice() {
    for (const picture of Object.values(this.pictures)) if (picture.facts) picture.slice(this.range.value / 1000);
    const first = Object.values(this.pictures).find((picture) => picture.facts?.form === "slices");
    if (!first) return;
    const n = first.at();
    this.place.textContent = `${first.facts.slices[n] + 1}, at ${first.facts.mm[n].toFixed(1)} mm`;
    this.range.setAttribute("aria-valuetext", this.place.textContent);
  }

  update(job) {
    const changed = JSON.stringify(job);
    if (changed === this.changed) return;
    this.changed = changed;
    this.job = job;
    this.element.id = `job-${job.name}`;
    this.title.textContent = job.output;
    this.badge.textContent = STATES[job.state];
    this.badge.className = `badge ${job.state}`;
    const given = Object.entries(job.settings).map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`);
    this.from.textContent = [`${job.content} in the style of ${job.style}`, `preset ${job.preset}`, ...given].join(", ");
    this.error.textContent = job.error;
    this.progress(job);
    this.show(job);
    this.curve.show(job.losses);
    this.said(job);
    this.offer(job);
  }

  progress(job) {
    const { step } = job;
    this.going.hidden = ENDED.includes(job.state) && !step;
    if (step) this.bar.value = step.iteration / step.total;
    else if (job.state === "queued") this.bar.value = 0;
    else this.bar.removeAttribute("value");
    this.bar.hidden = ENDED.includes(job.state);
    if (job.state === "queued") this.words.textContent = "waits for the jobs before it";
    else if (!step) this.words.textContent = "preparing: reading, planning, measuring";
    else this.words.textContent = this.far(job, step);
  }

  far(job, step) {
    const parts = [`step ${step.iteration} of ${step.total}`];
    if (step.scales > 1) parts.push(`scale ${step.scale} of ${step.scales} (${step.size.join(" x ")})`);
    if (step.loss !== null) parts.push(`loss ${step.loss.toPrecision(4)}`);
    if (job.ended) parts.push(`${clock(job.ended.seconds)} in all`);
    else {
      parts.push(clock(step.seconds));
      if (step.scales === 1 && step.iteration < step.total && job.state === "running") {
        parts.push(`about ${clock((step.seconds * (step.total - step.iteration)) / step.iteration)} left`);
      }
    }
    return parts.join(", ");
  }

  show(job) {
    const at = `api/jobs/${job.name}`;
    for (const which of ["content", "style", "result"]) {
      const facts = job.facts[which];
      const key = which === "result" ? job.views : 1;
      if (!facts || this.drawn[which] === key) continue;
      this.drawn[which] = key;
      this.pictures[which].show(facts, `${at}/view/${which}?n=${key}`);
      this.views.classList.toggle("wide", facts.form === "spectrogram");
      this.slicing.hidden = facts.form !== "slices";
      this.slice();
    }
    const sounds = { content: job.content, style: job.style, result: ENDED.includes(job.state) && job.files.result?.name };
    for (const [which, name] of Object.entries(sounds)) {
      const picture = this.pictures[which];
      if (!name || !PLAYED.test(name) || picture.sound) continue;
      picture.sound = element("audio", { controls: true, preload: "metadata", src: `${at}/sound/${which}`, "aria-label": `${picture.title}, sound` });
      picture.figure.append(picture.sound);
    }
  }

  said(job) {
    const warnings = job.ended?.warnings ?? [];
    this.warnings.hidden = !warnings.length;
    this.warnings.replaceChildren(...warnings.map((words) => element("li", { textContent: words })));
    const notes = [...job.notes, ...(job.ended?.notes ?? []), ...(job.plan ? [job.plan] : [])];
    this.notesBox.hidden = !notes.length;
    this.notes.replaceChildren(...notes.map((words) => element("li", { textContent: words })));
    const metrics = Object.entries(job.ended?.metrics ?? {});
    this.metricsBox.hidden = !metrics.length;
    this.metrics.replaceChildren(...metrics.map(([name, value]) => element("tr", {},
      element("th", { scope: "row", textContent: name.replaceAll("_", " ") }),
      element("td", { textContent: typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value) }))));
  }

  offer(job) {
    const ended = ENDED.includes(job.state);
    const { stop, keep, remove } = this.buttons;
    stop.hidden = ended;
    stop.textContent = job.state === "stopping" ? "Stop at once" : "Stop";
    stop.title = job.state === "queued" ? "" : job.state === "stopping" ? "Without a result" : "After this step, with the best so far";
    keep.hidden = job.state === "failed" || (ended && !job.files.result) || job.keep;
    keep.title = "Copy inputs, YAML and result to where they stay when the app is gone";
    remove.hidden = ["running", "stopping"].includes(job.state);
    this.kept.textContent = job.kept ? `kept in ${job.kept}` : job.keep && !ended ? "will be kept when it ends" : "";
    const links = ended && job.files.result ? Object.entries(FILES) : [["yaml", "YAML"]];
    const linked = JSON.stringify([job.files, links.length]);
    if (linked === this.linked) return; // a link that is replaced loses the focus, and a click that has begun
    this.linked = linked;
    this.files.replaceChildren(...links.filter(([what]) => job.files[what]).map(([what, words]) => element("a", {
      class: "button", href: `api/jobs/${job.name}/files/${what}`, download: job.files[what].name, "data-file": what,
      textContent: `${words} (${size(job.files[what].bytes)})`, title: job.files[what].name,
    })));
  }
}
