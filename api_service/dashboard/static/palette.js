// The command palette: Ctrl or ⌘ and K opens it; what is typed filters, arrows choose, Enter goes.

export function startPalette() {
  const dialog = document.getElementById("palette");
  if (!dialog) return;
  const search = dialog.querySelector("input");
  const options = () => [...dialog.querySelectorAll('[role="option"]')]; // new ones come with a new range
  const none = dialog.querySelector(".palette-none");
  let chosen = 0;

  const shown = () => options().filter((each) => !each.hidden);

  function choose(place) {
    const list = shown();
    chosen = list.length ? (place + list.length) % list.length : 0;
    for (const each of options()) each.setAttribute("aria-selected", "false");
    const option = list[chosen];
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) search.setAttribute("aria-activedescendant", option.id);
    else search.removeAttribute("aria-activedescendant");
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const each of options()) {
      const text = each.textContent.toLowerCase();
      each.hidden = !words.every((word) => text.includes(word));
    }
    none.hidden = shown().length > 0;
    choose(0);
  }

  function open() {
    if (dialog.open || document.querySelector("dialog[open]")) return;
    search.value = "";
    filter();
    dialog.showModal();
    search.focus();
  }

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (dialog.open) dialog.close();
      else open();
    }
  });
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest('[data-opens="palette"]')) open();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("a")) dialog.close();
  });
  search.addEventListener("input", filter);
  search.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps) {
      event.preventDefault();
      choose(chosen + steps[event.key]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      shown()[chosen]?.querySelector("a").click();
    }
  });
}
