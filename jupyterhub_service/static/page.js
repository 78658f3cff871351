// What the pages do beyond links and forms: they stay up to date, say so, and spare a page load. Without it they work too.

const POLL_SECONDS = 4;
const TOLD_SECONDS = 20; // the stream's heartbeat comes every 15
const announcer = document.getElementById("announcer");
const stale = document.getElementById("stale");

// --- up to date: the server renders the page again, and what differs is put into this one -------------------------

const headers = { "X-RTC-Live": "1", "X-XSRFToken": document.body.dataset.xsrf };

async function refresh() {
  if (document.hidden || !document.querySelector("[data-live]") || document.querySelector("[data-sent]")) return;
  let answer;
  try {
    answer = await fetch(location.href, { headers, mode: "same-origin", cache: "no-store" });
  } catch {
    stale.hidden = false;
    return;
  }
  if ([401, 403, 404].includes(answer.status)) return location.reload(); // the new page says what has changed
  stale.hidden = answer.ok;
  if (answer.ok) update(new DOMParser().parseFromString(await answer.text(), "text/html"));
}

function update(page) {
  if (page.body.dataset.view !== document.body.dataset.view) return location.reload(); // another owner, other parts
  const said = new Set(sentences(document));
  for (const region of document.querySelectorAll("[data-live]")) {
    const next = page.getElementById(region.id);
    if (next) morph(region, next);
  }
  const news = sentences(document).filter((sentence) => !said.has(sentence));
  if (news.length) announcer.textContent = news.join(". ");
}

function sentences(page) {
  return [...page.querySelectorAll("[data-say]")].map((element) => element.dataset.say);
}

// Changes `now` into `next`, and leaves alone what is equal: the focus stays, and so does a button under the mouse.
function morph(now, next) {
  if (now.isEqualNode(next)) return;
  const same = now.nodeName === next.nodeName && now.id === next.id;
  if (!same || now.childNodes.length !== next.childNodes.length) return replace(now, next);
  if (now.nodeType !== Node.ELEMENT_NODE) {
    now.nodeValue = next.nodeValue;
    return;
  }
  for (const name of now.getAttributeNames()) {
    if (name !== "open" && !next.hasAttribute(name)) now.removeAttribute(name); // a menu that is open stays open
  }
  for (const name of next.getAttributeNames()) now.setAttribute(name, next.getAttribute(name));
  [...now.childNodes].forEach((child, index) => morph(child, next.childNodes[index]));
}

function replace(now, next) {
  const focused = now.contains?.(document.activeElement) ? document.activeElement.id : "";
  now.replaceWith(document.importNode(next, true));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// The service tells when something has happened; times and presence that ends in silence are looked up now and then.
// While it tells nothing, as where a proxy holds streams back, everything is looked up more often.
const listening = { until: null, heard: 0 };

async function listen() {
  if (document.hidden || listening.until || !document.querySelector("[data-live]")) return;
  listening.until = new AbortController();
  const { signal } = listening.until;
  try {
    const answer = await fetch(`${document.body.dataset.api}/events`, { headers, signal, mode: "same-origin" });
    if (!answer.ok) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      listening.heard = Date.now();
      if (piece.value.includes("event:")) await refresh();
    }
  } catch {
    // It ended: by us, or by the service or the network, which `refresh` finds out about.
  } finally {
    Object.assign(listening, { until: null, heard: 0 });
    if (!signal.aborted) refresh();
  }
}

async function stayUpToDate() {
  let looked = Date.now();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_SECONDS * 1000));
    listen();
    const isTold = stale.hidden && Date.now() - listening.heard < TOLD_SECONDS * 1000;
    if (isTold && Date.now() - looked < TOLD_SECONDS * 1000) continue;
    looked = Date.now();
    await refresh();
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return listening.until?.abort(); // a browser has few connections to one host
  listen();
  refresh();
});
listen();
stayUpToDate();

// --- the dialog ---------------------------------------------------------------------------------------------------

for (const dialog of document.querySelectorAll("dialog[open]")) {
  dialog.close(); // as the server sends it, it is part of the page
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const target = event.target.closest("[data-dialog], [data-close], [data-copy]");
  if (!target) return;
  if (target.dataset.copy) return copy(target);
  event.preventDefault();
  if (target.dataset.dialog) document.getElementById(target.dataset.dialog).showModal();
  else target.closest("dialog").close();
});

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector(".menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// --- suggestions: whom one might invite, as one types ------------------------------------------------------------

const SETTLE_MILLISECONDS = 200;

for (const input of document.querySelectorAll("[data-search]")) {
  let wait;
  input.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(() => suggest(input), SETTLE_MILLISECONDS);
  });
}

async function suggest(input) {
  const asked = input.value;
  if (!asked || [...input.list.options].some((option) => option.value === asked)) return; // it was chosen
  let found;
  try {
    const answer = await fetch(`${input.dataset.search}?name=${encodeURIComponent(asked)}`, { headers, mode: "same-origin" });
    if (!answer.ok) return;
    found = await answer.json();
  } catch {
    return; // without suggestions one types the whole name
  }
  if (input.value !== asked) return;
  input.list.replaceChildren(
    ...found.users.map(({ username, display_name }) => {
      const option = document.createElement("option");
      option.value = username;
      option.textContent = display_name;
      return option;
    }),
  );
}

// --- the link -----------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;

async function copy(button) {
  const input = document.getElementById(button.dataset.copy);
  input.select();
  // The clipboard's newer way is there with HTTPS alone.
  if (navigator.clipboard) await navigator.clipboard.writeText(input.value);
  else document.execCommand("copy");
  button.textContent = announcer.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

// --- forms: sent once, and the dangerous ones only when it is meant -------------------------------------------------

document.addEventListener("submit", (event) => {
  const form = event.target;
  const button = event.submitter;
  const question = button?.dataset.confirm;
  if (form.dataset.sent || (question && !confirm(question))) return event.preventDefault();
  form.dataset.sent = "yes";
  button?.setAttribute("aria-disabled", "true");
  if (button && form.dataset.busy) button.textContent = form.dataset.busy;
});

// A page that the browser has kept, and shows again on the way back.
addEventListener("pageshow", (event) => event.persisted && location.reload());
