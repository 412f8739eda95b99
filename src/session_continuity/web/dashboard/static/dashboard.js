// The pages' own behaviour, and as a shared worker the one stream of changes for all tabs: a browser opens only six
// connections to a host.

const inWorker = typeof SharedWorkerGlobalScope !== "undefined" && self instanceof SharedWorkerGlobalScope;

// The stream. `tell(name, data)` hears hello, rows, figures, trouble, lost and signed-out.
function listen(tell) {
  let source;
  const open = () => {
    source = new EventSource("/live");
    for (const name of ["hello", "rows", "figures", "trouble"])
      source.addEventListener(name, (event) => tell(name, JSON.parse(event.data)));
    source.onerror = async () => {
      tell("lost", null);
      if (source.readyState !== EventSource.CLOSED) return;  // it tries again by itself
      const answer = await fetch("/", { method: "HEAD" }).catch(() => null);
      if (answer && answer.status === 401) tell("signed-out", null);
      else setTimeout(open, 2000);
    };
  };
  open();
}

// What other modules of a page take part in: on(name, hear).
const hearers = {};
export function on(name, hear) { (hearers[name] ??= []).push(hear); }
function tellPage(name, data) { for (const hear of hearers[name] ?? []) hear(data); }

function startPage() {
  document.documentElement.classList.add("js");
  addEventListener("DOMContentLoaded", begin);
  if (document.readyState !== "loading") begin();
}

let begun = false;
async function begin() {
  if (begun) return;
  begun = true;
  localize(document);
  tick();
  setInterval(tick, 1000);
  addEventListener("keydown", keys);
  document.addEventListener("click", copy);
  for (const menu of document.querySelectorAll("details.menu"))
    document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  const page = document.body.dataset.page;
  if (page === "overview") overview();
  if (document.body.dataset.module) await import(new URL(document.body.dataset.module, import.meta.url));
  if (document.querySelector("[data-link]")) connect();
}

function connect() {
  let worker;
  try {
    worker = new SharedWorker(import.meta.url, { type: "module", name: "continuity" });
  } catch { /* no shared workers here: a stream of its own */ }
  if (!worker) return listen(heard);
  worker.port.onmessage = (message) => heard(...message.data);
  addEventListener("pagehide", () => worker.port.postMessage("bye"));
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

function heard(name, data) {
  if (name === "hello") linkState("", "live");
  if (name === "lost") linkState("lost", "connection lost, trying again");
  if (name === "signed-out") linkState("lost", "signed out: run continuity dashboard");
  if (name === "trouble") linkState(data ? "lost" : "", data ? "the database can't be reached, trying again" : "live");
  tellPage(name, data);
}

function linkState(state, text) {
  const shown = document.querySelector("[data-link]");
  if (!shown || (shown.dataset.link === state && shown.textContent.trim() === text)) return;
  shown.dataset.link = state;
  shown.querySelector("[data-link-text]").textContent = text;
}

// Times: "12 s ago" counts on.
export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(seconds / 3600);
  if (minutes < 120) return `${minutes} min`;
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}
function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-since], time[data-for]")) {
    const text = span(now - Date.parse(time.dateTime)) + (time.hasAttribute("data-since") ? " ago" : "");
    if (time.textContent !== text) time.textContent = text;
  }
}

// Clock times are shown in the zone of who reads them.
const two = (value) => String(value).padStart(2, "0");
function localize(root) {
  for (const time of root.querySelectorAll("time[data-clock]")) {
    const at = new Date(time.dateTime);
    time.textContent = `${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  }
}

// Patching: what is the same stays, so that nothing flickers and the selection keeps its place.
export function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  localize(template.content);
  return template.content;
}
const bare = (node) => node.innerHTML.replace(/>[^<]* ago<|data-for="">[^<]*</g, "><");
export function patchRow(row, fresh, mark = false) {
  let changed = false;
  [...fresh.children].forEach((cell, place) => {
    const old = row.children[place];
    if (bare(old) === bare(cell) && old.className === cell.className) return;
    if (cell.classList.contains("who") && old.querySelector(".branch") && !cell.querySelector(".branch"))
      cell.prepend(old.querySelector(".branch"));
    if (bare(old) === bare(cell)) return;
    old.className = cell.className;
    old.replaceChildren(...cell.childNodes);
    changed = true;
  });
  row.dataset.state = fresh.dataset.state;
  if (changed && mark) {
    row.classList.remove("told");
    requestAnimationFrame(() => row.classList.add("told"));
  }
}
export async function fragment(address = location.href) {
  const answer = await fetch(address, { headers: { "X-Fragment": "1" } });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return parse(await answer.text());
}
export function soon(work, pause = 400) {
  let waiting = null, running = false, again = false;
  return async function run() {
    if (running) { again = true; return; }
    if (waiting) return;
    waiting = setTimeout(async () => {
      waiting = null; running = true;
      try { await work(); } catch { /* the stream says when the server is back, and we ask again */ }
      running = false;
      if (again) { again = false; run(); }
    }, pause);
  };
}

// The overview.
function overview() {
  const form = document.querySelector("[data-filters]");
  const table = () => document.querySelector("[data-table]");
  const refresh = soon(async () => takeOver(await fragment()));
  const takeOver = (content) => {
    const fresh = content.querySelector("[data-table]"), old = table();
    const shape = (node) => [...node.querySelectorAll("tr")].map((row) => row.id || row.textContent).join("|");
    if (shape(fresh) === shape(old)) {
      for (const row of fresh.querySelectorAll("tr[data-row]")) patchRow(document.getElementById(row.id), row);
    } else {
      const at = old.querySelector("tr.at")?.id;
      old.replaceWith(fresh);
      if (at) document.getElementById(at)?.classList.add("at");
    }
    tick();
  };
  on("hello", refresh);
  on("trouble", (is) => { if (!is) refresh(); });
  on("rows", (rows) => {
    let missing = false;
    for (const [id, html] of Object.entries(rows)) {
      const row = document.getElementById(id), fresh = parse(html).querySelector("tr");
      if (!row) { missing = true; continue; }
      if (row.dataset.state !== fresh.dataset.state) missing = true;
      patchRow(row, fresh, true);
    }
    if (missing) refresh();
    tick();
  });
  on("figures", (html) => {
    const old = document.querySelector("[data-figures]"), fresh = parse(html).firstElementChild;
    if (old && old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes);
  });
  setInterval(refresh, 60000);

  const go = async (address, push) => {
    if (push) history.pushState(null, "", address);
    takeOver(await fragment(address));
  };
  const typed = soon(() => go(address(), true), 250);
  const address = () => {
    const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    return `${location.pathname}${asked.size ? `?${asked}` : ""}`;
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); go(address(), true); });
  form.addEventListener("change", (event) => { if (!event.target.hasAttribute("data-find")) go(address(), true); });
  form.querySelector("[data-find]").addEventListener("input", typed);
  addEventListener("popstate", () => {
    const asked = new URLSearchParams(location.search);
    for (const field of form.elements) {
      if (!field.name) continue;
      const value = asked.get(field.name) ?? (field.name === "sort" ? "status" : field.name === "view" ? "projects" : "");
      if (field.type === "radio") field.checked = field.value === value; else field.value = value;
    }
    takeOverSoon();
  });
  const takeOverSoon = soon(() => go(location.href, false), 0);
}

// Keys: / finds, j and k move, Enter opens, Esc leaves.
function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inField = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
    if (inField) event.target.blur();
    return;
  }
  if (inField) return;
  if (event.key === "/") {
    const find = document.querySelector("[data-find]");
    if (find) { event.preventDefault(); find.focus(); find.select(); }
    return;
  }
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const place = rows.findIndex((row) => row.classList.contains("at"));
  if (event.key === "j" || event.key === "k") {
    const next = rows[Math.max(0, Math.min(rows.length - 1, place + (event.key === "j" ? 1 : -1)))];
    rows[place]?.classList.remove("at");
    next.classList.add("at");
    next.querySelector("a")?.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter" && place >= 0 && !event.target.closest("a, button, summary")) {
    rows[place].querySelector("a")?.click();
  }
}

// A button with data-copy copies the text of what it names.
async function copy(event) {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  const before = button.textContent;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}

// As a worker it hears the stream for all tabs.
function shareStream() {
  const ports = new Set();
  let state = null;  // nothing is known before the first answer
  let trouble = false;
  listen((name, data) => {
    if (name === "hello") state = "live";
    if (name === "lost" || name === "signed-out") state = name;
    if (name === "trouble") trouble = data;
    for (const port of ports) port.postMessage([name, data]);
  });
  self.onconnect = (event) => {
    const port = event.ports[0];
    ports.add(port);
    port.onmessage = (message) => { if (message.data === "bye") ports.delete(port); };
    if (trouble) port.postMessage(["trouble", true]);
    if (state) port.postMessage([state === "live" ? "hello" : state, null]);
  };
}

if (inWorker) shareStream(); else startPage();
