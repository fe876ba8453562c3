// The map of namespaces to teams: rows of two fields, sent whole, as one object of their values.

import { ask, sayAtHead } from "./forms.js";

const FAILED = "The answer did not arrive. Check the connection and try again; nothing is done twice.";

function rowsOf(form) {
  return [...form.querySelectorAll("[data-namespace-row]")];
}

function fieldsOf(row) {
  const [namespace, team] = row.querySelectorAll("input");
  return { namespace, team };
}

function add(form, name = "") {
  const row = form.querySelector("template").content.firstElementChild.cloneNode(true);
  form.querySelector("[data-namespace-rows]").append(row);
  const { namespace, team } = fieldsOf(row);
  namespace.value = name;
  (name ? team : namespace).focus();
}

function complaint(row, text) {
  const { namespace } = fieldsOf(row);
  namespace.setAttribute("aria-invalid", "true");
  namespace.focus();
  return text;
}

// The map, or what is wrong with it.
function read(form) {
  const map = new Map();
  for (const row of rowsOf(form)) {
    const { namespace, team } = fieldsOf(row);
    namespace.removeAttribute("aria-invalid");
    const name = namespace.value.trim();
    if (!name && !team.value.trim()) continue;
    if (!name) return { wrong: complaint(row, "Give the namespace that this team has.") };
    if (map.has(name)) return { wrong: complaint(row, `The namespace ${name} stands there twice.`) };
    map.set(name, team.value.trim());
  }
  return { map: Object.fromEntries(map) };
}

async function save(form) {
  const { map, wrong } = read(form);
  if (wrong) return sayAtHead(form, wrong);
  const button = form.querySelector("button.primary");
  button.disabled = true;
  button.classList.add("busy");
  try {
    const result = await ask("PUT", "/v1/infrastructure/namespace-map", map);
    if (result.isDone) return location.reload();
    sayAtHead(form, result.answer?.error?.message ?? "That did not work; try again in a moment.");
  } catch {
    sayAtHead(form, FAILED);
  }
  button.disabled = false;
  button.classList.remove("busy");
}

document.addEventListener("click", (event) => {
  const at = event.target instanceof Element ? event.target : null;
  const form = document.getElementById("namespaces-form");
  if (!form || !at) return;
  const adding = at.closest("[data-adds-namespace]");
  if (adding) add(form, adding.dataset.addsNamespace);
  const removing = at.closest("[data-removes-namespace]");
  if (removing) {
    removing.closest("[data-namespace-row]").remove();
    form.querySelector("[data-adds-namespace]").focus();
  }
});
document.addEventListener("submit", (event) => {
  if (event.target.id !== "namespaces-form") return;
  event.preventDefault();
  save(event.target);
});
