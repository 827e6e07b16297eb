"use strict";
/* The conversation: asks one or two models, shows their answers while they are written, and sends what a reader says of them. */
const byId = (id) => document.getElementById(id);
const models = new Map(JSON.parse(byId("models").textContent).map((model) => [model.id, model]));
const words = JSON.parse(byId("words").textContent);
const [first, second, talk, question] = ["first", "second", "talk", "question"].map(byId);
/** The turns before, by model: each side of a comparison goes on from its own answers. */
const histories = new Map();
let under = null; // what ends the answers under way

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text; // text only: answers and documents come from strangers
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Controls and marks that reorder or hide text are shown as what they are. */
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, (sign) =>
    sign === "\r" ? "" : `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`);
}

function say(text) {
  byId("status").textContent = text;
}

// --- what was answered -------------------------------------------------------------------------------------------

function placeOf(model, citation) {
  const query = new URLSearchParams({ model, path: citation.document, passage: citation.passage });
  return `/document?${query}#passage`;
}

function link(model, citation, text, label) {
  const made = element("a", text, { href: placeOf(model, citation), target: "_blank", rel: "noopener" });
  made.setAttribute("aria-label", `${label} (${words.new_tab})`);
  return made;
}

/** The answer with [1] as a link to passage 1. */
function withCitations(model, text, citations) {
  const known = new Map(citations.map((one) => [String(one.number), one]));
  return visible(text).split(/(\[\d{1,2}\])/).map((part) => {
    const citation = known.get(part.slice(1, -1));
    if (!citation || !/^\[\d{1,2}\]$/.test(part)) return part;
    const made = link(model, citation, part, visible(citation.where));
    made.className = "cite";
    return made;
  });
}

function passages(model, citations) {
  const list = element("ol", "", { class: "cited" });
  for (const one of citations) {
    const item = element("li");
    item.append(`[${one.number}] `, link(model, one, visible(one.where), visible(one.where)));
    item.append(element("span", visible(one.text), { class: "text" }));
    list.append(item);
  }
  return list;
}

/** What goes beyond the text: confidence, sources, why there is none. */
function about(side, extra, finish) {
  const { model, box } = side;
  if (extra.confidence != null) {
    const sure = element("p", `${words.confidence} ${(100 * extra.confidence).toFixed(0)} %`, { class: "sure" });
    sure.prepend(element("meter", "", { min: 0, max: 1, value: extra.confidence, "aria-label": words.confidence }));
    box.append(sure);
  }
  if (extra.abstained) box.append(element("p", `${words.not_answered}: ${visible(extra.abstained)}`, { class: "why" }));
  if (finish === "length") box.append(element("p", words.cut, { class: "why" }));
  if (extra.messages_read === 1) box.append(element("p", words.read_last, { class: "why" }));
  const citations = extra.citations ?? [];
  const [cited, rest] = [citations.filter((one) => one.cited), citations.filter((one) => !one.cited)];
  if (cited.length) box.append(passages(model.id, cited));
  if (rest.length) {
    const more = element("details");
    more.append(element("summary", `${words.also_read} (${rest.length})`), passages(model.id, rest));
    box.append(more);
  }
}

// --- asking ------------------------------------------------------------------------------------------------------

/** The events of a stream, as JSON, up to [DONE]. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (part.startsWith("data: ") && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function reason(response) {
  if (response.status === 429) return words.try_again.replace("{}", response.headers.get("retry-after") ?? "1");
  const error = (await response.json().catch(() => ({}))).error;
  if (error?.code === "page_token") return words.stale;
  return error?.message ?? `${response.status}`;
}

function sideOf(model) {
  const box = element("div", "", { class: model.labels.length ? "answer busy label" : "answer busy" });
  const who = element("p", "", { class: "who" });
  who.append(element("b", model.id), model.rung || words.untouched);
  const said = element("p", "", { class: "said text" });
  box.append(who, said);
  return { model, box, said };
}

/** Add the parts of calls of tools, as a stream has them, to the calls so far. */
function take(called, parts) {
  for (const { index, id, function: part } of parts) {
    called[index] ??= { id, type: "function", function: { name: part.name, arguments: "" } };
    called[index].function.arguments += part.arguments;
  }
}

/** Ask one model; its answer is written into its side. */
async function answer(side, text, signal) {
  const turns = [...(histories.get(side.model.id) ?? []), { role: "user", content: text }];
  let [whole, extra, finish, id] = ["", {}, "", ""];
  const called = [];
  try {
    const response = await post("/page/v1/chat/completions", { model: side.model.id, messages: turns, stream: true }, signal);
    if (!response.ok) throw new Error(await reason(response));
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      id = event.id;
      whole += choice?.delta.content ?? "";
      take(called, choice?.delta.tool_calls ?? []);
      side.said.textContent = visible(whole);
      extra = choice?.rung ?? extra;
      finish = choice?.finish_reason ?? finish;
    }
    whole = called.map((one) => `${one.function.name}(${one.function.arguments})`).join("\n") || whole;
    side.said.replaceChildren(...withCitations(side.model.id, whole, extra.citations ?? []));
    about(side, extra, finish);
    const given = called.length ? { tool_calls: called } : { content: whole };
    histories.set(side.model.id, [...turns, { role: "assistant", ...given }]);
    side.box.append(judging(side, id));
  } catch (error) {
    const stopped = error.name === "AbortError";
    const why = error instanceof TypeError ? words.gone : error.message;
    side.box.append(element("p", stopped ? words.stopped : `${words.failed}: ${visible(why)}`, { class: stopped ? "why" : "alarm" }));
  } finally {
    side.box.classList.remove("busy");
  }
  return whole;
}

function chosen() {
  const ids = [first.value, second.value].filter((id, k, all) => id && all.indexOf(id) === k);
  return ids.map((id) => models.get(id));
}

async function ask(text) {
  const turn = element("section", "", { class: "turn", "aria-label": text.slice(0, 80) });
  const asked = element("p", visible(text), { class: "asked text" });
  asked.prepend(element("span", `${words.you}: `, { class: "away" }));
  const sides = chosen().map(sideOf);
  const row = element("div", "", { class: sides.length > 1 ? "sides two" : "sides" });
  row.append(...sides.map((side) => side.box));
  turn.append(asked, row);
  talk.append(turn);
  turn.scrollIntoView({ block: "start" });
  under = new AbortController();
  busy(true);
  say(words.writing);
  const found = await Promise.all(sides.map((side) => answer(side, text, under.signal)));
  busy(false);
  say(`${words.answered} ${found.map((one, k) => (found.length > 1 ? `${sides[k].model.id}: ${one}` : one)).join(" ")}`);
  question.focus();
}

function busy(yes) {
  byId("send").disabled = yes;
  byId("stop").hidden = !yes;
  for (const one of [first, second]) one.disabled = yes;
}

// --- feedback ----------------------------------------------------------------------------------------------------

/** A drawn thumb; fonts without emoji show none. */
function hand(rating) {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of [["viewBox", "0 0 16 16"], ["class", `hand ${rating}`], ["aria-hidden", "true"]]) drawn.setAttribute(name, value);
  path.setAttribute("d", "M2 7h2.5v7H2zM6 7l2.6-5.4c1.3 0 1.9.9 1.7 2L9.9 6H13c.9 0 1.5.8 1.3 1.6l-1.3 5c-.2.8-.8 1.4-1.7 1.4H6z");
  drawn.append(path);
  return drawn;
}

/** Thumbs and a correction of one answer. */
function judging(side, id) {
  const bar = element("div", "", { class: "judge", role: "group" });
  const thanks = element("span", "", { class: "thanks", role: "status" });
  const send = async (content) => {
    const response = await post("/page/v1/feedback", { id, index: 0, ...content }).catch(() => null);
    thanks.textContent = response?.ok ? words.thanks : `${words.failed}: ${response ? visible(await reason(response)) : words.gone}`;
    return Boolean(response?.ok);
  };
  const thumbs = [["up", words.right], ["down", words.wrong]].map(([rating, name]) => {
    const thumb = element("button", name, { type: "button", "aria-pressed": "false" });
    thumb.prepend(hand(rating));
    thumb.addEventListener("click", async () => {
      if (!(await send({ rating }))) return;
      for (const one of thumbs) one.setAttribute("aria-pressed", String(one === thumb));
    });
    return thumb;
  });
  const correct = element("button", words.correct_it, { type: "button", "aria-expanded": "false" });
  correct.addEventListener("click", () => correcting(side, correct, thumbs, send));
  bar.append(...thumbs, correct, thanks);
  return bar;
}

/** The form of a correction: a choice of the labels where there are some, else a text. */
function correcting(side, opener, thumbs, send) {
  if (opener.getAttribute("aria-expanded") === "true") return;
  opener.setAttribute("aria-expanded", "true");
  const form = element("form", "", { class: "correct" });
  const label = element("label", words.correction);
  const labels = side.model.labels;
  const field = element(labels.length ? "select" : "textarea", "", { required: "" });
  for (const one of labels) field.append(element("option", one));
  field.value = side.said.textContent; // of labels the one that was answered
  label.append(field);
  const row = element("div", "", { class: "row" });
  const save = element("button", words.save, { class: "main" });
  const cancel = element("button", words.cancel, { type: "button" });
  const close = () => {
    form.remove();
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };
  cancel.addEventListener("click", close);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!field.value.trim() || !(await send({ rating: "down", correction: field.value.trim() }))) return;
    thumbs.forEach((one, k) => one.setAttribute("aria-pressed", String(k === 1)));
    close();
  });
  row.append(save, cancel);
  form.append(label, row);
  side.box.append(form);
  field.focus();
}

// --- the page ----------------------------------------------------------------------------------------------------

function notices() {
  const found = [...new Set(chosen().map((model) => model.notice).filter(Boolean))];
  byId("notices").replaceChildren(...found.map((text) => element("p", visible(text), { class: "next", lang: "en" })));
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text || byId("send").disabled) return;
  question.value = "";
  ask(text);
});
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
});
byId("stop").addEventListener("click", () => under?.abort());
byId("anew").addEventListener("click", () => {
  under?.abort();
  histories.clear();
  talk.replaceChildren();
  question.focus();
});
for (const one of [first, second]) one.addEventListener("change", notices);
notices();
question.focus();
