// What every page does: menu, things that open, tabs, copying, the time zone, the command palette.

import { startPalette } from "./palette.js";

const ZONE_COOKIE = "modeltrack_zone";
const TOAST_MS = 2600;

export function say(words) {
  const toast = document.getElementById("toast");
  toast.textContent = words;
  toast.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => toast.classList.remove("shown"), TOAST_MS);
}

function sayWhatWasLeft() {
  try {
    const words = sessionStorage.getItem("modeltrack_said");
    sessionStorage.removeItem("modeltrack_said");
    if (words) say(words);
  } catch {
    // storage is off: nothing was left
  }
}

function browserZone() {
  try {
    return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  } catch {
    return "UTC";
  }
}

function cookie(name) {
  const found = document.cookie.split("; ").find((each) => each.startsWith(`${name}=`));
  return found ? found.slice(name.length + 1) : "";
}

// Set before one is in, so that the first page one sees counts days as one does oneself.
function rememberZone() {
  if (cookie(ZONE_COOKIE) || !/^[A-Za-z0-9_+/-]{1,64}$/.test(browserZone())) return;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${ZONE_COOKIE}=${browserZone()}; path=/; max-age=31536000; samesite=lax${secure}`;
}

function offerZone(root) {
  const own = browserZone();
  for (const select of root.querySelectorAll("select[data-zones]")) {
    if ([...select.options].some((each) => each.value === own)) continue;
    select.prepend(new Option(own, own));
  }
}

async function copy(button) {
  const block = button.closest(".copyable").querySelector("code");
  try {
    await navigator.clipboard.writeText(block.textContent);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(block); // no clipboard over plain http: mark it instead
    say("Marked: copy it with Ctrl+C or ⌘C.");
  }
}

function chooseTab(tab) {
  for (const each of tab.closest('[role="tablist"]').querySelectorAll('[role="tab"]')) {
    const isChosen = each === tab;
    each.setAttribute("aria-selected", String(isChosen));
    each.tabIndex = isChosen ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !isChosen;
  }
  tab.focus();
}

function closeOthers(kept) {
  for (const each of document.querySelectorAll("details.pop[open]")) {
    if (each !== kept) each.open = false;
  }
}

function onClick(event) {
  const at = event.target instanceof Element ? event.target : null;
  if (!at) return;
  closeOthers(at.closest("details.pop"));
  const toggle = at.closest(".menu-toggle");
  if (toggle) {
    const isOpen = document.getElementById("menu").classList.toggle("open");
    toggle.setAttribute("aria-expanded", String(isOpen));
  }
  const copying = at.closest("[data-copies]");
  if (copying) copy(copying);
  const tab = at.closest('[role="tab"]');
  if (tab) chooseTab(tab);
}

function onKey(event) {
  const at = event.target instanceof Element ? event.target : null;
  if (event.key === "Escape") {
    const open = document.querySelector("details.pop[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  }
  const tab = at?.closest('[role="tab"]');
  if (tab && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    const tabs = [...tab.closest('[role="tablist"]').querySelectorAll('[role="tab"]')];
    const step = event.key === "ArrowRight" ? 1 : -1;
    chooseTab(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length]);
  }
}

if (/Mac|iPhone|iPad/.test(navigator.platform)) {
  for (const each of document.querySelectorAll("[data-shortcut]")) each.textContent = "⌘ K";
}
document.addEventListener("click", onClick);
document.addEventListener("keydown", onKey);
document.addEventListener("htmx:afterSwap", (event) => offerZone(event.target));
document.addEventListener("htmx:sendError", () => say("The answer did not arrive. Check the connection."));
rememberZone();
sayWhatWasLeft();
offerZone(document);
startPalette();
