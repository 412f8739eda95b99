// A session's pages: the timeline in a window, details on demand, the head kept current.
import { fragment, on, parse, soon } from "./dashboard.js";

const instance = document.body.dataset.instance;
const base = `/sessions/${instance}`;

// The head follows the session.
const head = document.querySelector("[data-head]");
const refreshHead = soon(async () => {
  const url = new URL(base, location.href);
  url.searchParams.set("part", "head");
  const fresh = (await fragment(url)).querySelector("[data-head]");
  for (const part of [".title", ".facts"]) {
    const old = head.querySelector(part), now = fresh.querySelector(part);
    const bare = (node) => node.innerHTML.replace(/value="[^"]*"|>[^<]* ago<|data-for="">[^<]*</g, "");
    if (bare(old) !== bare(now) && !old.contains(document.activeElement)) old.replaceChildren(...now.childNodes);
  }
}, 300);
on("rows", (rows) => { if (instance in rows) { refreshHead(); newer(); } });
on("hello", () => { refreshHead(); newer(); });

// The timeline: at most two pages of entries are in the document.
const PAGE = 40;
const list = () => document.querySelector("[data-entries]");
const entries = () => [...document.querySelectorAll("[data-entries] > [data-cursor]")];
let loading = false;

function pageAddress(place, cursor) {
  const url = new URL(location.href);
  url.hash = "";
  for (const name of ["at", "after", "before", "done"]) url.searchParams.delete(name);
  if (cursor) url.searchParams.set(place, cursor);
  return url;
}
async function load(place) {
  const shown = entries(), ol = list();
  if (loading || !ol || !shown.length) return;
  loading = true;
  try {
    const edge = place === "before" ? shown.at(-1) : shown[0];
    const fresh = [...(await fragment(pageAddress(place, edge.dataset.cursor))).querySelectorAll("[data-cursor]")]
      .filter((entry) => !document.getElementById(entry.id));
    if (place === "before") {
      if (fresh.length < PAGE) ol.dataset.oldest = "";
      ol.append(...fresh);
      const over = entries().length - 2 * PAGE;
      if (over > 0) { keepPlace(ol.lastElementChild, () => entries().slice(0, over).forEach((one) => one.remove())); delete ol.dataset.newest; }
    } else {
      // Who reads at the top of the newest sees what comes; who reads further back keeps the place.
      const above = scrollY > 80 || !("newest" in ol.dataset);
      if (fresh.length < PAGE) ol.dataset.newest = "";
      const add = () => ol.prepend(...fresh);
      if (above) keepPlace(shown[0], add); else add();
      const over = entries().slice(2 * PAGE);
      if (over.length) { over.forEach((one) => one.remove()); delete ol.dataset.oldest; }
    }
  } catch { /* asked again when the stream is back, or at the next move */ }
  loading = false;
}
// What changes above the window must not move what is read.
function keepPlace(entry, change) {
  const before = entry.getBoundingClientRect().top;
  change();
  scrollBy({ top: entry.getBoundingClientRect().top - before, behavior: "instant" });
  lastPlace = scrollY;
}
// Only the end that is scrolled to is asked for more: on a high screen both may be near.
let lastPlace = scrollY;
const nearEnd = () => {
  const ol = list(), moved = scrollY - lastPlace;
  lastPlace = scrollY;
  if (!ol) return;
  const box = ol.getBoundingClientRect();
  if (moved > 0 && box.bottom < innerHeight * 2 && !("oldest" in ol.dataset)) load("before");
  if (moved < 0 && box.top > -innerHeight && !("newest" in ol.dataset)) load("after");
};
addEventListener("scroll", nearEnd, { passive: true });

const notice = document.querySelector("[data-newer]");
function newer() {
  const ol = list();
  if (!ol || document.querySelector("[data-entries] .empty")) return;
  if ("newest" in ol.dataset && scrollY <= 200) load("after");
  else if (notice && !new URLSearchParams(location.search).get("at")) notice.hidden = false;
}
notice?.querySelector("button").addEventListener("click", () => { location.href = pageAddress("at", null); });

// Details come when an entry is opened.
document.addEventListener("toggle", async (event) => {
  const details = event.target;
  if (!details.open || !details.dataset?.detail || details.dataset.loaded) return;
  details.dataset.loaded = "1";
  try {
    details.querySelector("[data-into]").replaceChildren(await fragment(details.dataset.detail));
  } catch { delete details.dataset.loaded; }
}, true);

// Filters keep the address.
const filters = document.querySelector("[data-timeline-filters]");
if (filters) {
  const apply = soon(async () => {
    const asked = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value));
    const address = `${location.pathname}${asked.size ? `?${asked}` : ""}`;
    history.pushState(null, "", address);
    list().replaceWith((await fragment(address)).querySelector("[data-entries]"));
    scrollTo({ top: Math.min(scrollY, filters.offsetTop) });
  }, 200);
  filters.addEventListener("submit", (event) => { event.preventDefault(); apply(); });
  filters.addEventListener("change", apply);
  filters.addEventListener("input", (event) => { if (event.target.hasAttribute("data-find")) apply(); });
  addEventListener("popstate", () => location.reload());
}
const marked = new URLSearchParams(location.search).get("at");
const aimed = marked && document.getElementById(marked);
if (aimed) { aimed.querySelector("details").open = true; aimed.scrollIntoView({ block: "center" }); }
else if (location.hash) document.getElementById(location.hash.slice(1))?.classList.add("at");

// The slider over the session's life.
const slider = document.querySelector("[data-slider]");
if (slider) {
  const number = document.querySelector("[data-slider-number]");
  const show = soon(async () => {
    const url = new URL(location.href);
    url.searchParams.set("as_of", slider.value);
    history.replaceState(null, "", url);
    document.querySelector("[data-state]").replaceWith((await fragment(url)).querySelector("[data-state]"));
  }, 120);
  slider.addEventListener("input", () => { number.value = slider.value; show(); });
  number.addEventListener("input", () => { if (number.validity.valid && number.value) { slider.value = number.value; show(); } });
}
