"use strict";
/* The leaderboard as it changes. The server sends the board drawn; what a reader has focused or scrolled is left alone. */
const board = document.getElementById("board");
const source = new EventSource(board.dataset.events);
let shown = null;
source.addEventListener("board", (event) => {
  if (event.data === shown) return;
  const first = shown === null;
  shown = event.data;
  if (first && !event.data.includes('class="live"') && !board.querySelector(".live")) return; // as the page has it
  const at = [...board.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  board.innerHTML = event.data; // drawn and escaped by this server; the policy lets no script in it run
  [...board.querySelectorAll(".scroll")].forEach((one, k) => (one.scrollLeft = at[k] ?? 0));
});
addEventListener("pagehide", () => source.close());
