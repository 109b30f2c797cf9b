// Sliders, switches and choices of a preset.
import { element } from "./draw.js";

const STEPS = 200;

function rounded(value) {
  return Number(value.toPrecision(3));
}

function slider(knob) {
  const log = knob.scale === "log";
  const place = (value) => (log ? (STEPS * Math.log(value / knob.min)) / Math.log(knob.max / knob.min) : value);
  const value = (at) => (log ? rounded(knob.min * (knob.max / knob.min) ** (at / STEPS)) : Number(at));
  const range = element("input", { type: "range", id: `knob-${knob.key}` });
  [range.min, range.max, range.step] = log ? [0, STEPS, 1] : [knob.min, knob.max, knob.step];
  const number = element("input", { type: "number", min: 0, step: log ? "any" : knob.step, "aria-label": `${knob.label}, as a number` });
  range.value = place(knob.default);
  number.value = knob.default;
  const say = () => range.setAttribute("aria-valuetext", number.value);
  range.addEventListener("input", () => { number.value = value(range.value); say(); });
  number.addEventListener("input", () => { if (number.value > 0) range.value = place(Number(number.value)); say(); });
  say();
  const read = () => (number.value === "" ? knob.default : Number(number.value));
  return [[element("label", { htmlFor: range.id, textContent: knob.label }), element("div", { class: "line" }, range, number)], read, range];
}

function choice(knob) {
  const select = element("select", { id: `knob-${knob.key}` }, ...knob.choices.map((word) => new Option(word, word)));
  select.value = knob.default;
  return [[element("label", { htmlFor: select.id, textContent: knob.label }), element("div", { class: "line" }, select)], () => select.value, select];
}

function toggle(knob) {
  const box = element("input", { type: "checkbox", id: `knob-${knob.key}`, checked: knob.default });
  return [[element("div", { class: "switch" }, box, element("label", { htmlFor: box.id, textContent: knob.label }))], () => box.checked, box];
}

// Puts the knobs of a preset into a place; gives back what reads the settings that differ from their defaults.
export function knobs(place, offer) {
  const makers = { slider, choice, switch: toggle };
  const readers = [];
  place.replaceChildren(...[...offer.knobs].map((knob) => {
    const [made, read, input] = makers[knob.type](knob);
    readers.push([knob, read]);
    const hint = element("p", { class: "hint", id: `${input.id}-help`, textContent: knob.help });
    input.setAttribute("aria-describedby", hint.id);
    return element("div", { class: "knob" }, ...made, hint);
  }));
  return () => {
    const always = ["style_weight", "iterations"];
    const given = readers.map(([knob, read]) => [knob, read()]).filter(([knob, v]) => always.includes(knob.key) || v !== knob.default);
    return Object.fromEntries(given.map(([knob, v]) => [knob.key, v]));
  };
}
