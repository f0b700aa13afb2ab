// Sorting, filtering and the theme. Without this script the ledger is complete and its evidence opens all the same.
"use strict";
(() => {
  const root = document.documentElement;
  const themeButton = document.getElementById("theme");
  const wantsDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : wantsDark.matches);
  const nameTheme = () => { themeButton.textContent = isDark() ? "Light theme" : "Dark theme"; };
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  wantsDark.addEventListener("change", nameTheme);
  nameTheme();

  // The keyboard stops at what scrolls, and only while it does.
  const scrolling = new ResizeObserver((changes) => {
    for (const { target } of changes) {
      if (target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const part of document.querySelectorAll(".scroll")) scrolling.observe(part);

  // A claim's own figure beside its forest plots: the image of the paper's section again, once the claim is opened.
  for (const place of document.querySelectorAll(".own")) {
    const part = place.closest("details");
    part.addEventListener("toggle", () => {
      const plate = document.getElementById(`figure-${place.dataset.figure}`)?.querySelector(".plate");
      if (!part.open || place.firstChild || !plate) return;
      place.append(plate.cloneNode(true));
      scrolling.observe(place.firstChild);
    });
  }

  // A link to something inside a closed part opens that part.
  const reveal = (id) => {
    const target = id && document.getElementById(id);
    if (!target) return;
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target.classList.contains("claim")) {
      if (target.hidden) show({ sort: state.sort });
      target.querySelector("details").open = true;
    }
    target.scrollIntoView();
  };

  const table = document.getElementById("claims");
  let state = {};
  let show = () => {};
  if (table) ledger();

  function ledger() {
    const rows = [...table.tBodies].filter((body) => body.classList.contains("claim"));
    const groups = [...table.tBodies].filter((body) => body.classList.contains("group"));
    const heads = [...table.tHead.rows[0].cells];
    const form = document.getElementById("controls");
    const shown = document.getElementById("shown");
    const unfold = document.getElementById("unfold");
    const fields = ["q", "paper", "verdict", "scale"];
    const numeric = new Set(["order", "verdict", "effect", "repeat"]);
    const plain = (text) => text.toLowerCase().replaceAll("\u2212", "-").replaceAll(/[\s\u202f]+/g, " ").trim();
    const texts = new Map(rows.map((row) => [row, plain(row.textContent)]));
    const matches = (row) =>
      (!state.paper || row.dataset.paper === state.paper) &&
      (!state.verdict || row.dataset.name === state.verdict) &&
      (!state.scale || row.dataset.scale === state.scale) &&
      (!state.q || plain(state.q).split(" ").every((word) => texts.get(row).includes(word)));

    const sorted = () => {
      const key = (state.sort || "order").replace("-", "");
      const sign = (state.sort || "").startsWith("-") ? -1 : 1;
      const value = (row) => row.dataset[key] ?? "";
      return [...rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        // What has no value comes last whichever way the rest runs.
        if (!x || !y) return (!x - !y) || a.dataset.order - b.dataset.order;
        // Numbers of different units cannot be compared: units stay together, in one order.
        const units = key === "effect" ? a.dataset.unit.localeCompare(b.dataset.unit) : 0;
        if (units) return units;
        const order = numeric.has(key) ? x - y : x.localeCompare(y);
        return sign * order || a.dataset.order - b.dataset.order;
      });
    };

    show = (next) => {
      state = next;
      for (const name of fields) form.elements[name].value = state[name] ?? "";
      // A value that the list does not have filters nothing.
      for (const name of fields) state[name] = form.elements[name].value;
      const key = (state.sort || "order").replace("-", "");
      for (const head of heads) {
        if (head.dataset.key === key) head.ariaSort = (state.sort || "").startsWith("-") ? "descending" : "ascending";
        else head.removeAttribute("aria-sort");
      }
      const focused = document.activeElement;
      table.append(...sorted());
      // In the papers' own order their names stand over their claims.
      for (const group of groups) {
        const own = rows.filter((row) => row.dataset.paper === group.dataset.paper);
        own[0].before(group);
        group.hidden = (state.sort || "order") !== "order" || !own.some(matches);
      }
      if (focused !== document.activeElement) focused.focus({ preventScroll: true });
      for (const row of rows) row.hidden = !matches(row);
      const count = rows.filter((row) => !row.hidden).length;
      shown.textContent = `${count} of ${rows.length} claims shown`;
    };

    const change = (next) => {
      show(next);
      const params = new URLSearchParams();
      for (const name of [...fields, "sort"]) if (state[name]) params.set(name, state[name]);
      history.replaceState(null, "", params.size ? `#${params}` : "#ledger");
    };

    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      if (head.dataset.sorts) button.title = `Sorts ${head.dataset.sorts}`;
      button.append(...head.childNodes);
      button.addEventListener("click", () => {
        const key = head.dataset.key;
        const now = state.sort || "order";
        change({ ...state, sort: now === key ? `-${key}` : key });
      });
      head.append(button);
    }
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      change({ ...Object.fromEntries(fields.map((name) => [name, form.elements[name].value])), sort: state.sort });
    });
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      change({});
    });
    const details = rows.map((row) => row.querySelector("details.evidence"));
    const nameUnfold = () => {
      unfold.textContent = details.every((part) => part.open) ? "Close every row" : "Open every row";
    };
    unfold.addEventListener("click", () => {
      const open = !details.every((part) => part.open);
      for (const part of details) part.open = open;
    });
    for (const part of details) part.addEventListener("toggle", nameUnfold);
    table.classList.add("live");
    table.addEventListener("click", (event) => {
      const facts = event.target.closest("tr.facts");
      if (!facts || event.target.closest("a, button") || String(getSelection())) return;
      const part = facts.parentElement.querySelector("details.evidence");
      part.open = !part.open;
    });
  }

  const follow = () => {
    const hash = location.hash.slice(1);
    if (hash.includes("=")) {
      show(Object.fromEntries(new URLSearchParams(hash)));
      document.getElementById("ledger").scrollIntoView();
    } else reveal(hash);
  };
  addEventListener("hashchange", follow);
  if (location.hash) follow();
})();
