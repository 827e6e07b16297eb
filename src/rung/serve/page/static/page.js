"use strict";
/* What all pages share: a post with the page's token, signing in and out. */
const token = document.querySelector('meta[name="rung-token"]').content;

/** A post of JSON to this server; `signal` ends it. */
function post(path, content, signal) {
  return fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-rung-token": token },
    body: JSON.stringify(content),
    credentials: "same-origin",
    signal,
  });
}

const form = document.getElementById("sign-in");
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = document.getElementById("key"), wrong = document.getElementById("key-wrong");
  wrong.hidden = true;
  if ((await post("/page/sign-in", { key: key.value })).ok) {
    location.reload();
    return;
  }
  wrong.hidden = false;
  key.setAttribute("aria-invalid", "true");
  key.select();
});

document.getElementById("sign-out")?.addEventListener("click", async () => {
  await post("/page/sign-out", {});
  location.assign("/");
});
