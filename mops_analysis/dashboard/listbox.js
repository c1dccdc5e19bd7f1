// A list to choose several jobs in, by keyboard or mouse. Only the rows in view are in the page. No key leaves it, and
// none that the notebook would take as a command leaves the panel around it.
const ROW = 24; // height of a row [px]

function render({ model, el }) {
  const list = document.createElement("div");
  const rows = document.createElement("div");
  const name = "mops-" + Math.random().toString(36).slice(2);
  list.append(rows);
  el.append(list);
  list.tabIndex = 0;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-multiselectable", "true");
  list.setAttribute("aria-label", "jobs");
  list.setAttribute("data-lm-suppress-shortcuts", "true");
  list.className = "mops-listbox";
  list.style.cssText = `height:${model.get("height")}px;overflow-y:auto;box-sizing:border-box;font-size:12px;` +
    "font-family:var(--jp-code-font-family,monospace);border:1px solid var(--jp-border-color1,currentColor)";
  rows.style.position = "relative";

  let active = 0; // the row that the keys move
  let anchor = 0; // where a range begins

  const options = () => model.get("options");

  function draw() {
    const all = options();
    const chosen = new Set(model.get("value"));
    active = Math.max(0, Math.min(active, all.length - 1));
    rows.style.height = `${all.length * ROW}px`;
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 2);
    const last = Math.min(all.length, first + Math.ceil(list.clientHeight / ROW) + 4);
    const drawn = [];
    for (let row = first; row < last; row++) drawn.push(row);
    if (all.length && (active < first || active >= last)) drawn.push(active);
    rows.replaceChildren(...drawn.map((row) => option(all, row, chosen.has(all[row][1]))));
    if (all.length) list.setAttribute("aria-activedescendant", `${name}-${active}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function option(all, row, isChosen) {
    const node = document.createElement("div");
    node.id = `${name}-${row}`;
    node.dataset.row = row;
    node.setAttribute("role", "option");
    node.setAttribute("aria-selected", String(isChosen));
    node.setAttribute("aria-posinset", row + 1);
    node.setAttribute("aria-setsize", all.length);
    write(node, (isChosen ? "☑ " : "☐ ") + all[row][0], all[row][0].match(/^\S+/)?.[0]);
    node.style.cssText = `position:absolute;top:${row * ROW}px;left:0;right:0;height:${ROW}px;line-height:${ROW}px;` +
      "padding:0 4px;box-sizing:border-box;white-space:pre;overflow:hidden;cursor:default;" +
      (isChosen ? "background:color-mix(in srgb,var(--jp-brand-color1,#2652b7) 18%,transparent);" : "") +
      (row === active ? "outline:1px dotted var(--jp-ui-font-color1,currentColor);outline-offset:-2px" : "");
    return node;
  }

  // Mark and bar in the colour of the status. What is not as expected is written as it came.
  function write(node, text, mark) {
    const colour = model.get("colours")[mark];
    const parts = text.match(/^(\S+ )(\S+)(.*?)([█░]{6})(\s*)(\d+)(%.*)$/s);
    if (!parts || !colour) {
      node.textContent = text;
      return;
    }
    const [, box, , name, , blank, share, rest] = parts;
    const bar = span("", `display:inline-block;width:42px;height:7px;margin-right:4px;border-radius:3px;` +
      `background:linear-gradient(to right,${colour} ${share}%,var(--jp-border-color2,#ccc) ${share}%)`);
    node.append(box, span(mark, `color:${colour}`), name, bar, blank + share + rest);
  }

  function span(text, style) {
    const node = document.createElement("span");
    node.textContent = text;
    node.style.cssText = style;
    return node;
  }

  function choose(ids) {
    model.set("value", [...ids]);
    model.save_changes();
    draw();
  }

  function toggle(row) {
    const chosen = new Set(model.get("value"));
    const id = options()[row][1];
    if (!chosen.delete(id)) chosen.add(id);
    anchor = row;
    choose(chosen);
  }

  function move(row, extend) {
    const all = options();
    active = Math.max(0, Math.min(row, all.length - 1));
    const top = active * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    if (!extend) anchor = active;
    if (!extend || !all.length) return draw();
    const range = all.slice(Math.min(anchor, active), Math.max(anchor, active) + 1);
    choose(new Set([...model.get("value"), ...range.map((each) => each[1])]));
  }

  list.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook would take letters as commands: x there cuts the cell
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const last = options().length - 1;
    const moves = {
      ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: last,
    };
    if (event.key in moves) move(moves[event.key], event.shiftKey);
    else if ((event.key === " " || event.key === "Enter") && last >= 0) toggle(active);
    else if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) choose(options().map((each) => each[1]));
    else if (event.key === "Escape") choose([]);
    else if (event.key === "/") el.closest(".mops-picker")?.querySelector("input")?.focus();
    else return;
    event.preventDefault();
  });
  list.addEventListener("mousedown", (event) => {
    const node = event.target.closest("[role=option]");
    if (!node) return;
    event.preventDefault();
    list.focus();
    if (event.shiftKey) return move(Number(node.dataset.row), true);
    active = Number(node.dataset.row);
    toggle(active);
  });
  list.addEventListener("scroll", draw);

  // The keys stay on the same job when the list changes its order.
  let ids = options().map((each) => each[1]);
  model.on("change:options", () => {
    const [at, from] = [ids[active], ids[anchor]];
    ids = options().map((each) => each[1]);
    active = Math.max(0, ids.indexOf(at));
    anchor = Math.max(0, ids.indexOf(from));
    draw();
  });
  model.on("change:value", draw);

  // JupyterLab and Voilà say on the body whether their theme is a light one.
  function look() {
    const isDark = document.body.dataset.jpThemeLight === "false";
    if (model.get("is_dark") !== isDark) {
      model.set("is_dark", isDark);
      model.save_changes();
    }
  }
  const watcher = new MutationObserver(look);
  watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  look();
  // Buttons and menus around the list have the same trouble with keys, and cannot keep them to themselves.
  const keep = (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  };
  let panel = null;
  requestAnimationFrame(() => {
    panel = el.closest(".mops-view") ?? el.closest(".mops-picker");
    panel?.addEventListener("keydown", keep);
  });

  new ResizeObserver(draw).observe(list);
  draw();
  return () => {
    watcher.disconnect();
    panel?.removeEventListener("keydown", keep);
  };
}

export default { render };
