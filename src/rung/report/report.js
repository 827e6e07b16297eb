"use strict";
/* The report's two interactions: another x axis for the scatter, another pair of rungs for the rows. */
document.documentElement.classList.add("scripted");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text; // text only: rows come from strangers
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/* --- quality against cost --- */

function showAxis(key) {
  for (const axis of all(".scatter .axis")) axis.toggleAttribute("hidden", axis.dataset.axis !== key);
  for (const dot of all(".scatter .dot")) {
    const mark = dot.dataset.marks.split(";").find((part) => part.startsWith(key + "=")).slice(key.length + 1);
    dot.toggleAttribute("hidden", !mark);
    if (!mark) continue;
    const [x, labelX, labelY, anchor] = mark.split(",");
    dot.querySelector(".place").setAttribute("transform", `translate(${x} 0)`);
    const label = dot.querySelector("text");
    label.setAttribute("x", labelX);
    label.setAttribute("y", labelY);
    label.setAttribute("text-anchor", anchor);
  }
}

function showTip(dot) {
  const tip = byId("tip"), place = dot.querySelector(".mark").getBoundingClientRect();
  const plot = tip.parentElement.getBoundingClientRect();
  const facts = byId("facts-" + dot.dataset.index).cloneNode(true);
  facts.hidden = false;
  facts.removeAttribute("id");
  tip.replaceChildren(element("b", dot.dataset.rung), facts);
  tip.hidden = false;
  const left = place.left + place.width / 2 - plot.left - tip.offsetWidth / 2;
  const above = place.top - plot.top - tip.offsetHeight - 12;
  tip.style.left = `${Math.max(0, Math.min(left, plot.width - tip.offsetWidth))}px`;
  tip.style.top = `${above < 0 ? place.bottom - plot.top + 12 : above}px`;
}

function pick(rung) {
  const a = byId("a"), b = byId("b");
  if (!a) return;
  const option = [...b.options].find((o) => o.text === rung);
  if (option.value === a.value) a.value = b.value; // the two change places
  b.value = option.value;
  showPair();
  const link = element("a", "Read the rows", { href: "#rows" });
  byId("picked").replaceChildren(`Rows to read now compares ${a.selectedOptions[0].text} with ${rung}. `, link);
}

for (const radio of all(".toggle input")) radio.addEventListener("change", () => showAxis(radio.value));
const checked = document.querySelector(".toggle input:checked"); // a browser may keep an earlier choice over a reload
if (checked) showAxis(checked.value);
for (const dot of all(".scatter .dot")) {
  for (const event of ["pointerenter", "focus"]) dot.addEventListener(event, () => showTip(dot));
  for (const event of ["pointerleave", "blur"]) dot.addEventListener(event, () => (byId("tip").hidden = true));
  dot.addEventListener("click", () => pick(dot.dataset.rung));
  dot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") byId("tip").hidden = true;
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    pick(dot.dataset.rung);
  });
}

/* --- rows to read --- */

function safe(value, written) { // texts that would turn or hide are written as the program says
  if (typeof value === "string") return Object.hasOwn(written, value) ? written[value] : value;
  if (Array.isArray(value)) return value.map((one) => safe(one, written));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, safe(one, written)]));
}

const given = byId("rows-data") ? JSON.parse(byId("rows-data").textContent) : null;
const data = given && safe(given, given.written);

function rowOf(row, pair) {
  const made = element("tr");
  const input = element("td", row.input, { class: "text", "data-label": "Input" });
  input.append(element("small", row.where));
  made.append(input, element("td", row.right, { class: "text", "data-label": "Right answer" }));
  for (const i of pair) {
    const cell = element("td", row.answers[i] || "(no answer)", { class: "text", "data-label": data.rungs[i] });
    if (data.graded) cell.append(element("small", row.scores[i].toFixed(3)));
    made.append(cell);
  }
  return made;
}

function tableOf(rows, win, lose) {
  const head = element("tr");
  for (const title of ["Input", "Right answer", data.rungs[win], data.rungs[lose]]) head.append(element("th", title, { scope: "col" }));
  const table = element("table", "", { class: "rows" }), top = element("thead"), body = element("tbody");
  top.append(head);
  body.append(...rows.slice(0, data.shown).map((row) => rowOf(row, [win, lose])));
  table.append(top, body);
  const scroll = element("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Rows that ${data.rungs[win]} gets and ${data.rungs[lose]} does not` });
  scroll.append(table);
  if (rows.length <= data.shown) return [scroll];
  const more = element("button", `Show all ${rows.length}`, { type: "button" });
  more.addEventListener("click", () => {
    body.append(...rows.slice(data.shown).map((row) => rowOf(row, [win, lose])));
    more.remove();
  });
  return [scroll, more];
}

function sideOf(win, lose) {
  const rows = data.rows.filter((row) => row.scores[win] !== null && row.scores[lose] !== null && row.scores[win] > row.scores[lose]);
  const [a, b, count] = [data.rungs[win], data.rungs[lose], data.wins[win][lose]];
  const title = data.graded ? `${a} scored higher than ${b}` : `${a} right, ${b} wrong`;
  const made = [element("h3", `${title}: ${count} ${count === 1 ? "row" : "rows"}`)];
  if (rows.length) made.push(...tableOf(rows, win, lose));
  if (rows.length < count) made.push(element("p", `This page holds ${rows.length} of them.`, { class: "notes" }));
  return made;
}

function showPair() {
  const a = Number(byId("a").value), b = Number(byId("b").value);
  if (a === b) return byId("pair").replaceChildren(element("p", "Choose two different rungs."));
  byId("pair").replaceChildren(...sideOf(a, b), ...sideOf(b, a));
}

if (data) {
  for (const id of ["a", "b"]) byId(id).addEventListener("change", showPair);
  byId("a").value = data.rungs.indexOf(data.first[0]);
  byId("b").value = data.rungs.indexOf(data.first[1]);
  showPair();
}
/* --- answers and sources --- */

function showLooked() {
  const [rung, outcome, passage] = ["looked-rung", "looked-outcome", "looked-passage"].map((id) => byId(id).value);
  for (const part of all(".looked")) {
    part.hidden = part.dataset.rung !== rung;
    let shown = 0;
    for (const row of all(".look", part)) {
      row.hidden = (outcome && row.dataset.outcome !== outcome) || (passage && row.dataset.passage !== passage);
      shown += !row.hidden;
    }
    part.querySelector(".shown").textContent = `${shown} ${shown === 1 ? "row" : "rows"} shown.`;
  }
}

if (byId("looked-rung")) {
  for (const id of ["looked-rung", "looked-outcome", "looked-passage"]) byId(id).addEventListener("change", showLooked);
  showLooked();
}
window.addEventListener("beforeprint", () => all("details").forEach((details) => (details.open = true)));
