// The desk: keeps what the server sends, draws what has changed, and asks before every action.
// No text from the server becomes markup: elements are made by `h`, and text by text nodes.

const OLD_MS = 2000;
const LATE_ROW_MS = 6000;
const SORT_MS = 2500;
const DANGER = ["", "RECORDING", "SIMULATED", "PAPER", "DRY RUN", "LIVE"];
const boards = new Map(); // name -> {sections, rows, gaps}
const selected = new Set();
let session = { right: "none", proof: "", instances: [] };
let socket = null;
let lastHeard = 0; // performance.now() of the last message
let lastAt = 0; // the server's wall time then
let retry = 0;
let opened = null; // [instance, base]
let dirty = new Set();
let sortBy = { key: "surplus", down: true };
let sortedAt = 0;
let order = [];
let watchTimer = 0;

const $ = (id) => document.getElementById(id);

function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// amounts and times, as people read them

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 7 });
const amount = (value) => whole.format(Math.round(Number(value)) + 0);
const signed = (value) => {
  const rounded = Math.round(Number(value));
  return rounded ? `${rounded > 0 ? "+" : "−"}${whole.format(Math.abs(rounded))}` : "0";
};
const exact = (value) => fine.format(Number(value));
const bps = (value) => (value === null || value === undefined ? "–" : `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(1)}`);
const toneOf = (value) => (Math.round(Number(value)) > 0 ? "good" : Math.round(Number(value)) < 0 ? "bad" : "");
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const day = (ms) => (Date.now() - ms < 43200000 ? clock(ms) : new Date(ms).toLocaleString("en-GB"));
const span = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
};
const age = (ms) => (ms === null || ms === undefined ? "–" : ms < 10000 ? whole.format(ms) : `${Math.round(ms / 1000)} s`);
const micro = (us) => (us ? whole.format(us) : "–");
const plural = (count, what) => `${whole.format(count)} ${what}${count === 1 ? "" : "s"}`;
const DIRECTION = { buy_home: "buy home", buy_away: "buy away" };

// a table whose rows stay the same elements, so that nothing moves under the pointer

function table(place, columns, items, keyOf, nothing) {
  let body = place.querySelector("tbody");
  if (!items.length) {
    if (!place.querySelector(".nothing")) place.replaceChildren(h("p", { class: "nothing" }, nothing));
    return;
  }
  const shape = columns.map((column) => column.title).join("|");
  if (!body || place.dataset.shape !== shape) {
    body = h("tbody");
    place.dataset.shape = shape;
    const heads = columns.map((column) => h("th", { class: column.number ? "n" : null, scope: "col" }, column.title));
    place.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ...heads)), body));
  }
  const before = new Map([...body.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const key = String(keyOf(item));
    let row = before.get(key);
    before.delete(key);
    if (!row) row = h("tr", { "data-key": key }, ...columns.map(() => h("td")));
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    columns.forEach((column, place) => fill(row.children[place], column, item));
  });
  for (const row of before.values()) row.remove();
}

function fill(cell, column, item) {
  if (column.make) {
    if (!cell.firstChild) cell.append(column.make(item));
    return;
  }
  const text = String(column.text(item) ?? "");
  if (cell.textContent !== text) cell.textContent = text;
  const kind = [column.number ? "n" : "", column.wide ? "wide" : "", column.tone ? column.tone(item) : ""].filter(Boolean).join(" ");
  if (cell.className !== kind) cell.className = kind;
}

function withInstance(columns) {
  return selected.size > 1 ? [{ title: "instance", text: (item) => item.instance }, ...columns] : columns;
}

// what is selected

const chosen = () => [...boards.entries()].filter(([name]) => selected.has(name));
const GONE = ["dead", "ended", "not running"];
const isGone = (board) => GONE.includes(board.sections.head?.state);
// What an instance showed before it ended belongs in no sum with instances that run.
const counted = () => {
  const all = chosen();
  const running = all.filter(([, board]) => !isGone(board));
  return running.length ? running : all;
};
const leftOut = () => chosen().map(([name]) => name).filter((name) => !counted().some(([one]) => one === name));
const countedOf = (key) => counted().filter(([, board]) => board.sections[key]).map(([name, board]) => [name, board.sections[key]]);
const sectionsOf = (key) =>
  chosen().filter(([, board]) => board.sections[key]).map(([name, board]) => [name, board.sections[key]]);
const listed = (key, field) =>
  sectionsOf(key).flatMap(([name, section]) => section[field].map((item) => ({ ...item, instance: name })));

function mostDangerous() {
  const heads = sectionsOf("head").map(([, head]) => head);
  return heads.reduce((most, head) => (DANGER.indexOf(head.mode) > DANGER.indexOf(most) ? head.mode : most), "");
}

// drawing

const DRAW = { head: drawHead, money: drawMoney, funnel: drawFunnel, work: drawWork, places: drawPlaces, balances: drawBalances, events: drawEvents, facts: drawFacts, pairs: drawPairs, detail: drawDetail };

function mark(...names) {
  if (!dirty.size) requestAnimationFrame(draw);
  names.forEach((name) => dirty.add(name));
}

function draw() {
  const now = dirty;
  dirty = new Set();
  for (const name of Object.keys(DRAW)) if (now.has(name)) DRAW[name]();
}

const drawAll = () => mark(...Object.keys(DRAW));

function drawHead() {
  const mode = mostDangerous();
  document.documentElement.dataset.mode = mode;
  $("mode").hidden = !mode;
  const orders = [...new Set(sectionsOf("head").map(([, head]) => head.orders).filter(Boolean))].join("; ");
  $("mode").textContent = mode;
  $("mode").title = orders;
  $("instances").replaceChildren(
    ...[...boards].map(([name, board]) =>
      h("button", { type: "button", "aria-pressed": String(selected.has(name)), title: board.sections.head?.sentence ?? "", onclick: () => choose(name) },
        h("span", { class: `dot ${board.sections.head?.tone ?? ""}` }), name)),
  );
  $("health").replaceChildren(...sectionsOf("head").map(([, head]) => healthOf(head)));
  const heads = sectionsOf("head").map(([, head]) => head);
  document.documentElement.classList.toggle("is-gone", heads.length > 0 && heads.every((head) => GONE.includes(head.state)));
  $("actions").hidden = session.right !== "operator";
  title();
}

const SHOWN_PROBLEMS = 4;
const unfolded = new Set();

function healthOf(head) {
  const problems = unfolded.has(head.name) ? head.problems : head.problems.slice(0, SHOWN_PROBLEMS);
  const more = head.problems.length - problems.length;
  const isWhole = unfolded.has(head.name);
  const fold = () => { if (!unfolded.delete(head.name)) unfolded.add(head.name); mark("head"); };
  return h("div", { class: `health ${head.tone}${isWhole ? " is-whole" : ""}`, "data-instance": head.name },
    h("strong", {}, head.sentence), head.orders ? h("span", { class: "soft" }, ` · ${head.orders}`) : null,
    problems.length ? h("ul", {}, ...problems.map(([tone, text]) => h("li", { class: tone === "bad" ? null : "soft" }, text))) : null,
    head.problems.length ? h("button", { type: "button", class: "plain more", onclick: fold }, isWhole ? "Show less" : more > 0 ? `Show all ${head.problems.length}` : "Show them in full") : null);
}

function title() {
  const heads = sectionsOf("head").map(([, head]) => head);
  const mode = mostDangerous();
  const isOld = document.documentElement.classList.contains("is-old");
  const worst = heads.find((head) => head.tone === "bad") ?? heads.find((head) => head.tone === "warn") ?? heads[0];
  document.title = `${isOld ? "OLD · " : ""}${mode ? `${mode} · ` : ""}${worst?.sentence ?? "arbshard"}`;
  const icon = `/icon-${isOld || !mode ? "old" : mode.toLowerCase().replace(" ", "-")}.svg`;
  if ($("icon").getAttribute("href") !== icon) $("icon").setAttribute("href", icon);
}

function choose(name) {
  if (selected.has(name) && selected.size > 1) selected.delete(name);
  else selected.add(name);
  sortedAt = 0;
  drawAll();
  sendWanted();
}

function drawFacts() {
  const facts = countedOf("facts").map(([, one]) => one);
  if (!facts.length) return;
  const sum = (key) => facts.reduce((total, one) => total + one[key], 0);
  const slowest = Math.max(...facts.map((one) => one.p99_us));
  $("facts").textContent = [
    `up ${span(Math.min(...facts.map((one) => one.up_s)))}`,
    `${amount(sum("memory_mb"))} MB`,
    `decision p99 ${micro(slowest)} µs`,
    `${amount(sum("serial"))} events in the ledger`,
  ].join(" · ");
}

function drawMoney() {
  const all = countedOf("money").map(([, one]) => one);
  if (!all.length) return;
  const currencies = [...new Set(all.map((one) => one.run.currency))];
  if (currencies.length > 1) {
    $("tiles").replaceChildren(h("p", { class: "nothing" }, `Instances of ${currencies.join(" and ")} have no common sum: select those of one currency.`));
    $("bars").replaceChildren();
    return;
  }
  const sum = (pick) => all.reduce((total, one) => total + Number(pick(one)), 0);
  const tiles = [
    ["equity", "Equity", signed(sum((one) => one.equity)), `realised ${signed(sum((one) => one.realised))}, unrealised ${signed(sum((one) => one.unrealised))}`, toneOf(sum((one) => one.equity))],
    ["today", "Today", signed(sum((one) => one.today)), `this week ${signed(sum((one) => one.week))}`, toneOf(sum((one) => one.today))],
    ["pnl", "Result of this run", signed(sum((one) => one.run.pnl)), `trade ${signed(sum((one) => one.run_trade))}, fees ${signed(-sum((one) => one.run.fees))}, FX ${signed(sum((one) => one.run.fx))}`, toneOf(sum((one) => one.run.pnl))],
    ["ledger", "Since the ledger began", signed(sum((one) => one.ledger.pnl)), `trade ${signed(sum((one) => one.ledger_trade))}, fees ${signed(-sum((one) => one.ledger.fees))}, FX ${signed(sum((one) => one.ledger.fx))}`, toneOf(sum((one) => one.ledger.pnl))],
    ["trades", "Trades of this run", `${amount(sum((one) => one.run.entries))} / ${amount(sum((one) => one.run.exits))}`, `entries / exits; ${winRate(all)}`, ""],
    ["account", "Account value", amount(sum((one) => one.account_value)), `${currencies[0]}, at the bids of now`, ""],
  ];
  const beside = sum((one) => one.ledger.beside);
  if (beside) tiles.push(["beside", "Of it beside trading", signed(beside), "transfers, differences", toneOf(beside)]);
  tiles.push(["fx", "FX rate", all[0].fx.split(" per ")[0], all[0].fx_doubt ? "IN DOUBT: nothing is entered" : `per ${all[0].fx.split(" per ").slice(1).join(" per ") || "–"}`, all[0].fx_doubt ? "bad" : ""]);
  const gone = leftOut();
  const note = gone.length ? [h("p", { class: "nothing", id: "left-out" }, `Without ${gone.join(", ")}: not running, so the last figures are old.`)] : [];
  $("tiles").replaceChildren(...note, ...tiles.map(([key, name, value, text, tone]) =>
    h("div", { class: "tile", "data-tile": key }, h("span", {}, name), h("b", { class: tone }, value), h("small", {}, text))));
  drawBars(all);
}

function winRate(all) {
  const wins = all.reduce((total, one) => total + one.run.wins, 0);
  const losses = all.reduce((total, one) => total + one.run.losses, 0);
  return wins + losses ? `${((100 * wins) / (wins + losses)).toFixed(1)} % won` : "none closed yet";
}

function drawBars(all) {
  // Each instance has limits of its own, so the fullest of each kind is drawn when several are selected.
  const fullest = new Map();
  countedOf("money").forEach(([name, one]) => one.bars.forEach((bar) => {
    if (!fullest.has(bar.key) || fullest.get(bar.key).share < bar.share) fullest.set(bar.key, { ...bar, name });
  }));
  $("bars").replaceChildren(...[...fullest.values()].map((bar) => {
    const fill = h("i", { class: bar.tone });
    fill.style.width = `${Math.min(100, 100 * bar.share).toFixed(2)}%`;
    return h("div", { class: "limit", title: bar.key, "data-limit": bar.key },
      h("span", {}, bar.label + (all.length > 1 ? ` (${bar.name})` : "")), h("span", { class: "track" }, fill),
      h("span", { class: `of ${bar.tone === "good" ? "" : bar.tone}` }, `${amount(bar.used)} of ${amount(bar.limit)}`));
  }));
}

function drawFunnel() {
  const all = countedOf("funnel").map(([, one]) => one);
  if (!all.length) return;
  const stages = all[0].stages.map((stage, index) => ({
    ...stage,
    run: all.reduce((total, one) => total + one.stages[index].run, 0),
    minute: all.reduce((total, one) => total + one.stages[index].minute, 0),
  }));
  const most = Math.max(1, ...stages.map((stage) => Math.log10(1 + stage.run)));
  $("stages").replaceChildren(...stages.map((stage) => {
    const fill = h("i");
    fill.style.width = `${((100 * Math.log10(1 + stage.run)) / most).toFixed(1)}%`;
    return h("div", { class: "stage", "data-stage": stage.key },
      h("b", {}, whole.format(stage.run)), h("span", { class: "soft" }, ` · ${whole.format(stage.minute)} in the last minute`),
      h("div", { class: "track", title: "The bar's length is logarithmic." }, fill),
      h("small", {}, stage.label + (stage.mean_bps !== null && all.length === 1 ? `, ${bps(stage.mean_bps)} bps on average` : "")));
  }));
  const free = all.reduce((total, one) => total + one.free, 0);
  const pairs = all.reduce((total, one) => total + one.pairs, 0);
  const reasons = [h("span", { class: "chip" }, `${free} of ${plural(pairs, "pair")} may be entered`)];
  for (const [what, field] of [["barred", "barred"], ["refused by risk", "refused"]]) {
    const counts = new Map();
    all.forEach((one) => one[field].forEach(([name, count]) => counts.set(name, (counts.get(name) ?? 0) + count)));
    [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8).forEach(([name, count]) => reasons.push(h("span", { class: "chip" }, `${what}: ${name} ${whole.format(count)}`)));
  }
  $("reasons").replaceChildren(...reasons);
}

function drawWork() {
  const trades = listed("work", "trades");
  const now = serverNow();
  $("trades-count").textContent = trades.length ? `(${trades.length})` : "";
  table($("trades-table"), withInstance([
    { title: "pair", text: (one) => one.pair },
    { title: "kind", text: (one) => `${one.kind}, ${DIRECTION[one.direction]}` },
    { title: "age", number: true, text: (one) => `${Math.max(0, (serverNow() - one.decided_ms) / 1000).toFixed(1)} s` },
    { title: "orders", wide: true, text: (one) => one.orders.map((order) => `${order.role === "leg" ? "" : `${order.role}: `}${order.side} ${exact(order.filled)} of ${exact(order.quantity)} on ${order.venue} (${order.state.toLowerCase().replaceAll("_", " ")})`).join("; ") },
    { title: "intent", text: (one) => one.intent_id },
  ]), trades, (one) => `${one.instance} ${one.intent_id}`, "No order is under way.");
  const positions = listed("work", "positions");
  const closing = new Map(sectionsOf("work").flatMap(([name, work]) => Object.entries(work.closing).map(([pair, why]) => [`${name} ${pair}`, why])));
  $("positions-count").textContent = positions.length ? `(${positions.length})` : "";
  const columns = [
    { title: "pair", text: (one) => one.pair },
    { title: "direction", text: (one) => DIRECTION[one.direction] },
    { title: "age", number: true, text: (one) => span((now - one.opened_ms) / 1000) },
    { title: "quantity", number: true, text: (one) => exact(one.quantity) },
    { title: "entry home", number: true, text: (one) => exact(one.entry_home_price) },
    { title: "entry away", number: true, text: (one) => exact(one.entry_away_price) },
    { title: "notional", number: true, text: (one) => amount(one.notional) },
    { title: "fees", number: true, text: (one) => amount(one.fees) },
    { title: "unrealised", number: true, text: (one) => (one.unrealised === null ? "–" : signed(one.unrealised)), tone: (one) => toneOf(one.unrealised ?? 0) },
    { title: "bps", number: true, text: (one) => bps(one.unrealised_bps) },
    { title: "state", text: (one) => (isGone(boards.get(one.instance)) ? "OLD: its instance does not run" : closing.has(`${one.instance} ${one.pair}`) ? `closing (${closing.get(`${one.instance} ${one.pair}`)})` : one.is_whole ? "" : "books are thin") },
  ];
  if (session.right === "operator") {
    columns.push({ title: "", make: (one) => h("button", { type: "button", class: "plain", onclick: () => openAction("close", { instance: one.instance, symbols: one.pair }) }, "Close…") });
  }
  table($("positions-table"), withInstance(columns), positions, (one) => `${one.instance} ${one.position_id}`, "No position is open.");
  const closed = listed("work", "closed").sort((a, b) => b.closed_ms - a.closed_ms).slice(0, 20);
  table($("closed-table"), withInstance([
    { title: "closed", text: (one) => clock(one.closed_ms) },
    { title: "pair", text: (one) => one.pair },
    { title: "reason", text: (one) => (one.reason ?? "").replaceAll("_", " ") },
    { title: "held", number: true, text: (one) => span((one.closed_ms - one.opened_ms) / 1000) },
    { title: "notional", number: true, text: (one) => amount(one.notional) },
    { title: "PnL", number: true, text: (one) => signed(one.pnl ?? 0), tone: (one) => toneOf(one.pnl ?? 0) },
  ]), closed, (one) => `${one.instance} ${one.position_id}`, "No position was closed yet.");
}

const STATE_TONE = (state) => (["running", "connected", "ready", "drained", "idle", "elsewhere"].includes(state) ? "good" : ["starting", "connecting", "restarting", "draining", "partly", "rest"].includes(state) ? "warn" : "bad");

function drawPlaces() {
  table($("venues-table"), withInstance([
    { title: "venue", text: (one) => (one.simulated ? `${one.name} (simulated)` : one.name) },
    { title: "state", text: (one) => one.state, tone: (one) => STATE_TONE(one.state) },
    { title: "source", text: (one) => one.source },
    { title: "connections", number: true, text: (one) => (one.wanted ? `${one.connections} of ${one.wanted}` : one.connections) },
    { title: "msg/s", number: true, text: (one) => whole.format(one.msg_s) },
    { title: "oldest book", number: true, text: (one) => `${age(one.oldest_ms)}${one.oldest_ms < 10000 ? " ms" : ""}` },
    { title: "lag", number: true, text: (one) => (one.lag_ms === null ? "–" : `${one.lag_ms} ms`), tone: (one) => (one.lag_ms_max !== null && one.lag_ms > one.lag_ms_max ? "bad" : "") },
    { title: "answers", number: true, text: (one) => (one.answer_us.count ? `${whole.format(one.answer_us.p50 / 1000)} ms` : "–") },
    { title: "reconnects", number: true, text: (one) => one.reconnects },
    { title: "bad frames", number: true, text: (one) => one.bad_frames },
  ]), listed("places", "venues"), (one) => `${one.instance} ${one.name}`, "No venue is connected.");
  table($("shards-table"), withInstance([
    { title: "shard", number: true, text: (one) => one.id },
    { title: "state", text: (one) => (one.state === "restarting" ? `restarting in ${one.again_in_s} s` : one.state), tone: (one) => STATE_TONE(one.state) },
    { title: "pairs", number: true, text: (one) => one.pairs },
    { title: "msg/s", number: true, text: (one) => whole.format(one.msg_s) },
    { title: "p50 µs", number: true, text: (one) => micro(one.latency_us.p50) },
    { title: "p99 µs", number: true, text: (one) => micro(one.latency_us.p99) },
    { title: "approval µs", number: true, text: (one) => micro(one.approval_us.p50) },
    { title: "orders", number: true, text: (one) => one.orders },
    { title: "restarts", number: true, text: (one) => one.restarts, tone: (one) => (one.restarts ? "warn" : "") },
    { title: "epoch", number: true, text: (one) => one.epoch },
  ]), listed("places", "shards"), (one) => `${one.instance} ${one.id}`, "No worker runs.");
}

function drawBalances() {
  const venues = sectionsOf("balances").flatMap(([name, all]) => all.map((one) => ({ ...one, instance: name })));
  $("balances-list").replaceChildren(
    ...venues.map((one) => h("div", {},
      h("div", { class: "venue-name" }, h("strong", {}, selected.size > 1 ? `${one.venue} (${one.instance})` : one.venue),
        h("span", { class: "soft" }, one.runs_out.length ? `runs out soon: ${one.runs_out.join(", ")}` : one.currencies > one.rows.length ? `${one.rows.length} of ${whole.format(one.currencies)} currencies` : `${one.currencies} currencies`)),
      h("div", { class: "coins" }, ...one.rows.map(([currency, total, held]) =>
        h("div", { title: Number(held) ? `${held} of it are held for orders` : null },
          h("span", { class: one.runs_out.includes(currency) ? "warn" : null }, currency), h("span", {}, Number(total) >= 100000 ? amount(total) : exact(total))))))),
    ...(venues.length ? [] : [h("p", { class: "nothing" }, "No balance is known yet.")]));
}

function drawEvents() {
  const whose = (name) => (selected.size > 1 ? `${name}: ` : "");
  const lines = sectionsOf("events").flatMap(([name, one]) => [
    ...one.kept.map((alert) => h("li", { class: alert.over_ms === null ? "holds" : "soft" },
      h("strong", { class: alert.over_ms === null ? (alert.severity === "critical" ? "bad" : "warn") : null }, `${whose(name)}${alert.kind.replaceAll("_", " ")}${alert.subject ? ` ${alert.subject}` : ""}`),
      ` ${alert.text}`, alert.command ? h("code", {}, alert.command) : null,
      h("span", { class: "soft" }, ` since ${day(alert.began_ms)}${alert.over_ms === null ? "" : `, over after ${span((alert.over_ms - alert.began_ms) / 1000)}`}`))),
    ...one.alerts.map((text) => h("li", {}, selected.size > 1 ? `${name}: ${text}` : text)),
    ...one.warnings.map((text) => h("li", { class: "soft" }, selected.size > 1 ? `${name}: ${text}` : text)),
  ]);
  $("events-list").replaceChildren(...(lines.length ? lines : [h("li", { class: "soft" }, "There was no alert.")]));
}

// the table of pairs: only the visible rows exist

const COLUMNS = [
  { key: "base", cls: "c-base", title: "pair", up: true, text: (row) => [h("b", {}, row.base), selected.size > 1 ? h("em", {}, row.instance) : null] },
  { key: "gap", cls: "c-gap n", title: "gap bps", text: (row) => bps(row.gap) },
  { key: "level", cls: "c-level n", title: "level ± band", text: (row) => (row.level === null ? "learning" : `${bps(row.level)} ± ${bps(row.band)}`) },
  { key: "edge", cls: "c-edge n", title: "net edge", text: (row) => bps(row.edge), tone: (row) => (row.edge !== null && row.least !== null && row.edge >= row.least ? "good" : "") },
  { key: "least", cls: "c-least n", title: "needs", text: (row) => bps(row.least) },
  { key: "half_life_s", cls: "c-half n", title: "half-life", text: (row) => (row.half_life_s === null ? "–" : span(row.half_life_s)) },
  { key: "home_age_ms", cls: "c-age n", title: "books ms", text: (row) => `${age(row.home_age_ms)} / ${age(row.away_age_ms)}` },
  { key: "position", cls: "c-position", title: "position", text: (row) => (row.position ? `${DIRECTION[row.position]} ${row.unrealised ? signed(row.unrealised) : ""}` : ""), tone: (row) => toneOf(row.unrealised || 0) },
  { key: "surplus", cls: "c-why", title: "why not", text: (row) => row.why, tone: (row) => row.tone },
];
const surplus = (row) => (row.edge === null ? -1e9 : row.edge - (row.least ?? 1000));
const valueOf = (row, key) => (key === "surplus" ? surplus(row) : key === "position" ? (row.position ? Number(row.unrealised || 0) + 1e12 : -1e12) : row[key]);

function drawGridHead() {
  $("grid-head").replaceChildren(...COLUMNS.map((column) =>
    h("span", { class: column.cls, role: "columnheader" },
      h("button", { type: "button", "aria-sort": sortBy.key === column.key ? (sortBy.down ? "descending" : "ascending") : null,
        onclick: () => { sortBy = { key: column.key, down: sortBy.key === column.key ? !sortBy.down : !column.up }; sortedAt = 0; drawGridHead(); mark("pairs"); } }, column.title))));
}

function sortPairs() {
  const needle = $("filter").value.trim().toLowerCase();
  const which = $("which").value;
  const rows = chosen().flatMap(([name, board]) => [...board.rows.values()].map((row) => { row.instance = name; return row; }));
  order = rows.filter((row) => {
    if (which === "held" && !row.position) return false;
    if (which === "due" && !(row.edge !== null && row.least !== null && row.edge >= row.least)) return false;
    if (which === "barred" && row.tone !== "warn" && row.tone !== "bad") return false;
    return !needle || `${row.base} ${row.home} ${row.away} ${row.why}`.toLowerCase().includes(needle);
  });
  const down = sortBy.down ? -1 : 1;
  order.sort((a, b) => {
    const [x, y] = [valueOf(a, sortBy.key), valueOf(b, sortBy.key)];
    if (x === y) return a.base < b.base ? -1 : 1;
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    return (x < y ? -1 : 1) * down;
  });
  order = order.map((row) => [row.instance, row.base]);
  sortedAt = performance.now();
  $("pair-count").textContent = order.length === rows.length ? `(${whole.format(rows.length)})` : `(${whole.format(order.length)} of ${whole.format(rows.length)})`;
}

const pool = [];

function drawPairs() {
  if (performance.now() - sortedAt > SORT_MS) sortPairs();
  const body = $("grid-body");
  const height = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
  $("grid-space").style.height = `${order.length * height}px`;
  const first = Math.max(0, Math.floor(body.scrollTop / height) - 1);
  const count = Math.min(order.length - first, Math.ceil(body.clientHeight / height) + 2);
  const now = serverNow();
  for (let index = 0; index < Math.max(count, pool.length); index += 1) {
    if (index >= count) { pool[index].hidden = true; continue; }
    if (!pool[index]) pool[index] = newRow();
    const [name, base] = order[first + index];
    const row = boards.get(name)?.rows.get(base);
    pool[index].hidden = !row;
    if (row) fillRow(pool[index], row, name, (first + index) * height, now);
  }
  wantRows(order.slice(first, first + count));
}

function newRow() {
  const element = h("div", { class: "grid-row", role: "row" }, ...COLUMNS.map((column) => h("span", { class: column.cls, role: "cell" })));
  element.addEventListener("click", () => openPair(element.dataset.instance, element.dataset.base));
  $("grid-space").append(element);
  return element;
}

function fillRow(element, row, name, top, now) {
  const place = `translateY(${top}px)`;
  if (element.style.transform !== place) element.style.transform = place;
  element.dataset.instance = name;
  element.dataset.base = row.base;
  const isOpen = opened && opened[0] === name && opened[1] === row.base;
  const kind = `grid-row${isOpen ? " is-open" : ""}${now - row.at_ms > LATE_ROW_MS ? " is-late" : ""}`;
  if (element.className !== kind) element.className = kind;
  COLUMNS.forEach((column, index) => {
    const cell = element.children[index];
    const content = column.text(row);
    if (Array.isArray(content)) cell.replaceChildren(...content.filter(Boolean));
    else if (cell.textContent !== content) { cell.textContent = content; cell.title = column.key === "surplus" ? content : ""; }
    const cls = column.tone ? `${column.cls} ${column.tone(row)}`.trim() : column.cls;
    if (cell.className !== cls) cell.className = cls;
  });
}

let wantedRows = "";
function wantRows(rows) {
  const text = JSON.stringify(rows);
  if (text === wantedRows) return;
  wantedRows = text;
  clearTimeout(watchTimer);
  watchTimer = setTimeout(sendWanted, 150);
}

function sendWanted() {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const watch = {};
  for (const [name, base] of JSON.parse(wantedRows || "[]")) (watch[name] ??= []).push(base);
  socket.send(JSON.stringify({ watch, open: opened }));
}

// the detail of a pair

function openPair(name, base) {
  opened = opened && opened[0] === name && opened[1] === base ? null : [name, base];
  sendWanted();
  mark("pairs", "detail");
  if (opened) $("detail").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function drawDetail() {
  const place = $("detail");
  const board = opened ? boards.get(opened[0]) : null;
  const detail = board?.sections[`detail ${opened?.[1]}`];
  place.hidden = !opened;
  if (!opened) return;
  if (!detail) { place.replaceChildren(h("p", { class: "nothing" }, `${opened[1]} is being read.`)); return; }
  const operator = session.right === "operator";
  const [name, base] = opened;
  const act = (kind, text) => (operator ? h("button", { type: "button", onclick: () => openAction(kind, { instance: name, symbols: base }) }, text) : null);
  const steps = detail.funnel;
  place.replaceChildren(
    h("div", { class: "detail-head" }, h("h2", {}, base, h("span", { class: "soft" }, ` ${name}, ${clock(detail.at_ms)}`)),
      act("close", "Close…"), act("resume", "Release…"), act("move", "Move…"),
      h("button", { type: "button", onclick: () => openPair(name, base) }, "Hide")),
    h("div", { class: "detail" },
      h("div", {},
        h("ul", { class: "why-lines" }, ...detail.lines.map((line) => h("li", {}, line))),
        h("h3", {}, "Gap in basis points; ▲ entry, ▼ exit"), plot(detail, board.gaps.get(base) ?? []),
        steps ? h("p", { class: "soft" }, `This run: ${plural(steps[0], "evaluation")} netted enough at the touch, ${whole.format(steps[2])} of them were barred, ${whole.format(steps[4])} were deep enough, ${whole.format(steps[6])} were decided, ${whole.format(steps[8])} approved.`) : null),
      h("div", {},
        h("div", { class: "books" },
          book(`${detail.home_venue}, ${detail.home_quote}`, detail.home_asks, detail.home_bids),
          book(`${detail.away_venue}, ${detail.away_quote}`, detail.away_asks, detail.away_bids)),
        h("h3", {}, "Last refusals by risk"),
        detail.refused.length ? h("ul", { class: "why-lines" }, ...detail.refused.map((one) => h("li", {}, `${clock(one.at_ms)} ${one.reason}: ${one.detail}`))) : h("p", { class: "nothing" }, "Risk refused nothing of it lately."))));
}

function book(name, asks, bids) {
  const most = Math.max(...asks.map(([, size]) => size), ...bids.map(([, size]) => size), 1e-12);
  const line = (side) => ([price, size]) => {
    const fill = h("i");
    fill.style.width = `${(100 * size) / most}%`;
    return h("div", { class: side }, fill, h("span", { class: side === "ask" ? "bad" : "good" }, exact(price)), h("span", {}, exact(size)));
  };
  const shown = 8;
  const spread = asks.length && bids.length ? ((asks[0][0] - bids[0][0]) / asks[0][0]) * 10000 : null;
  return h("div", { class: "book" }, h("strong", {}, name), ...asks.slice(0, shown).reverse().map(line("ask")),
    h("div", { class: "spread" }, h("span", {}, "spread"), h("span", {}, spread === null ? "–" : `${spread.toFixed(1)} bps`)),
    ...bids.slice(0, shown).map(line("bid")));
}

function s(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function plot(detail, points) {
  const inner = $("detail").clientWidth - 32;
  const width = Math.max(280, window.innerWidth > 1000 ? inner * 0.54 : inner);
  const [height, left, bottom] = [190, 40, 18];
  const svg = s("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Gap over time" });
  if (points.length < 2) { svg.append(s("text", { x: left, y: 40 }, "The gap is being followed from now on.")); return svg; }
  const from = points[0][0];
  const to = points.at(-1)[0];
  const values = points.map((point) => point[1]);
  if (detail.level !== null) values.push(detail.level - (detail.band ?? 0), detail.level + (detail.band ?? 0));
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.08 || 1;
  [low, high] = [low - room, high + room];
  const x = (at) => left + ((at - from) / Math.max(1, to - from)) * (width - left - 6);
  const y = (value) => 6 + ((high - value) / (high - low)) * (height - bottom - 12);
  if (detail.level !== null) {
    const band = detail.band ?? 0;
    svg.append(s("rect", { class: "plot-band", x: left, y: y(detail.level + band), width: width - left - 6, height: Math.max(0, y(detail.level - band) - y(detail.level + band)) }));
    svg.append(s("line", { class: "plot-level", x1: left, x2: width - 6, y1: y(detail.level), y2: y(detail.level) }));
  }
  svg.append(s("line", { class: "plot-axis", x1: left, x2: left, y1: 4, y2: height - bottom }));
  for (const value of [low + room, (low + high) / 2, high - room]) svg.append(s("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(0)));
  svg.append(s("text", { x: left, y: height - 4 }, clock(from)), s("text", { x: width - 6, y: height - 4, "text-anchor": "end" }, clock(to)));
  const line = points.map(([at, value], index) => `${index && at - points[index - 1][0] < 30000 ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  svg.append(s("path", { class: "plot-line", d: line }));
  for (const one of detail.marks) {
    if (one.at_ms < from || one.at_ms > to) continue;
    const near = points.reduce((best, point) => (Math.abs(point[0] - one.at_ms) < Math.abs(best[0] - one.at_ms) ? point : best));
    const [cx, cy, up] = [x(one.at_ms), y(near[1]), one.kind === "entry" ? -1 : 1];
    const mark = s("path", { class: `plot-${one.kind}`, d: `M${cx - 5} ${cy - 5 * up}L${cx + 5} ${cy - 5 * up}L${cx} ${cy + 5 * up}Z` });
    mark.append(s("title", {}, `${one.kind}, ${DIRECTION[one.direction]}, ${clock(one.at_ms)}`));
    svg.append(mark);
  }
  return svg;
}

// what the server sends

const serverNow = () => lastAt + (performance.now() - lastHeard);

function heard(message) {
  lastHeard = performance.now();
  if (message.gaps) {
    const { instance, base, points } = message.gaps;
    boards.get(instance)?.gaps.set(base, points);
    mark("detail");
    return;
  }
  lastAt = message.at;
  for (const [name, news] of Object.entries(message.instances)) {
    const board = boards.get(name);
    if (!board) continue;
    const wasGone = isGone(board);
    Object.assign(board.sections, news.sections);
    if (isGone(board) !== wasGone) drawAll();
    mark(...Object.keys(news.sections).map((key) => (key.startsWith("detail ") ? "detail" : key)));
    for (const base of news.gone) board.rows.delete(base);
    for (const row of news.rows) {
      board.rows.set(row.base, row);
      const gaps = board.gaps.get(row.base);
      if (gaps && row.gap !== null && gaps.at(-1)?.[0] !== row.at_ms) { gaps.push([row.at_ms, row.gap]); if (gaps.length > 2400) gaps.shift(); }
    }
    mark("pairs", "head");
    if (board.sections.work?.trades.length || board.sections.work?.positions.length) mark("work");
  }
  setOld(false);
}

function setOld(isOld) {
  if (document.documentElement.classList.contains("is-old") === isOld) return;
  document.documentElement.classList.toggle("is-old", isOld);
  $("old").hidden = !isOld;
  title();
}

setInterval(() => {
  if (session.right === "none" || !lastHeard) return;
  const silent = performance.now() - lastHeard;
  if (silent > OLD_MS) {
    setOld(true);
    $("old").textContent = `No connection: everything below is OLD, as of ${clock(lastAt)} (${span(silent / 1000)} ago). Nothing here says how the desk is now.`;
  }
}, 250);

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/stream`);
  for (const board of boards.values()) board.rows.clear();
  socket.onopen = () => { retry = 0; sendWanted(); };
  socket.onmessage = (event) => heard(JSON.parse(event.data));
  socket.onclose = () => {
    if (lastHeard) { lastHeard = Math.min(lastHeard, performance.now() - OLD_MS - 1); }
    retry = Math.min(retry + 1, 6);
    setTimeout(start, 250 * 2 ** retry * (0.7 + 0.6 * Math.random()));
  };
}

async function call(method, path, body) {
  const response = await fetch(path, {
    method, credentials: "same-origin", body: body ? JSON.stringify(body) : undefined,
    headers: { "Content-Type": "application/json", "X-Arbshard-Proof": session.proof },
    signal: AbortSignal.timeout(15000),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? `the desk answered ${response.status}`);
  return answer;
}

async function start() {
  try {
    session = await call("GET", "/api/session");
  } catch {
    retry = Math.min(retry + 1, 6);
    setTimeout(start, 250 * 2 ** retry);
    return;
  }
  for (const name of session.instances) {
    if (!boards.has(name)) { boards.set(name, { sections: {}, rows: new Map(), gaps: new Map() }); selected.add(name); }
  }
  $("sign").textContent = session.right === "operator" ? `Sign out${session.person ? ` ${session.person}` : ""}` : "Sign in";
  $("positions-table").dataset.shape = "";
  drawActions();
  drawAll();
  if (session.right === "none") openSignIn();
  else if (!socket || socket.readyState >= WebSocket.CLOSING) connect();
}

// signing in

async function signIn(token, person) {
  await call("POST", "/api/session", { token, person });
  $("dialog").close();
  await start();
}

function openSignIn(problem) {
  const token = h("input", { type: "password", name: "token", autocomplete: "off", required: true });
  const person = h("input", { name: "person", maxlength: 40, autocomplete: "name" });
  showDialog("Sign in", [
    h("p", {}, session.right === "none" ? "Looking needs the viewer's or the operator's token." : "Acting needs the operator's token."),
    session.token_file ? h("p", { class: "soft" }, `It is in ${session.token_file} on the computer of the desk.`) : null,
    h("label", {}, "Token", token), h("label", {}, "Your name, for the ledger", person),
  ], "Sign in", () => signIn(token.value, person.value), problem);
}

$("sign").addEventListener("click", async () => {
  if (session.right !== "operator") { openSignIn(); return; }
  await call("DELETE", "/api/session");
  location.reload();
});

// actions: a form, then what will happen, then the answer

function showDialog(name, content, button, act, problem, kind = "primary") {
  const dialog = $("dialog");
  dialog.className = "";
  const trouble = h("p", { class: "problem", role: "alert", hidden: !problem }, problem ?? "");
  const send = button ? h("button", { class: kind, type: "submit" }, button) : null;
  const form = h("form", { method: "dialog" }, h("h2", {}, name), ...content, trouble,
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, button ? "Cancel" : "Close"), send));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!act) { dialog.close(); return; }
    send.disabled = true;
    trouble.hidden = true;
    try {
      await act();
    } catch (error) {
      trouble.textContent = error.message;
      trouble.hidden = false;
    }
    send.disabled = false;
  });
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
}

const reasonField = () => h("input", { name: "reason", maxlength: 200, placeholder: "for whoever reads the ledger later" });
const field = (text, input) => h("label", {}, text, input);
const check = (text, input) => h("label", { class: "check" }, input, h("span", {}, text));
const names = (text) => text.split(/[\s,]+/).filter(Boolean);

const ACTIONS = {
  halt: { button: "Halt", danger: true, form: () => {
    const [flatten, stop, reason] = [h("input", { type: "checkbox", name: "flatten" }), h("input", { type: "checkbox", name: "stop" }), reasonField()];
    return { content: [check("Close all positions as well", flatten), check("Stop exits too", stop), field("Reason", reason)],
      value: () => ({ flatten: flatten.checked, stop: stop.checked, reason: reason.value }) };
  } },
  resume: { button: "Resume", form: (given) => {
    const [symbols, reason] = [h("input", { name: "symbols", value: given.symbols ?? "", placeholder: "none: end the halt" }), reasonField()];
    return { content: [field("Pairs that were set apart", symbols), field("Reason", reason)], value: () => ({ symbols: names(symbols.value), reason: reason.value }) };
  } },
  close: { button: "Close positions", danger: true, form: (given) => {
    const symbols = h("input", { name: "symbols", value: given.symbols ?? "", placeholder: "BTC, KRW-ETH, SOLUSDT" });
    const everything = h("input", { type: "checkbox", name: "everything" });
    return { content: [field("Pairs", symbols), check("All positions", everything)],
      value: () => ({ symbols: everything.checked ? [] : names(symbols.value), everything: everything.checked }) };
  } },
  limits: { button: "Change limit", form: (given) => {
    const key = h("select", { name: "key" }, ...(given.lines ?? []).map((line) => h("option", { value: line.key }, line.key)));
    const [value, symbol] = [h("input", { name: "value", placeholder: "empty: as configured" }), h("input", { name: "symbol", placeholder: "empty: of all" })];
    const now = h("p", { class: "soft" });
    const show = () => {
      const line = (given.lines ?? []).find((one) => one.key === key.value);
      now.textContent = line ? `In force: ${line.value}${line.factor === "1" ? "" : ` × ${line.factor}`}; configured: ${line.configured}${line.used ? `; used: ${line.used}` : ""}` : "";
    };
    key.addEventListener("change", show);
    show();
    return { content: [field("Limit", key), now, field("New value", value), field("Of one pair", symbol)], value: () => ({ key: key.value, value: value.value, symbol: symbol.value }) };
  } },
  move: { button: "Move pairs", form: (given) => {
    const symbols = h("input", { name: "symbols", value: given.symbols ?? "", required: true });
    const shard = h("input", { name: "shard", type: "number", min: 0, value: 0 });
    return { content: [field("Pairs", symbols), field("To shard", shard)], value: () => ({ symbols: names(symbols.value), shard: Number(shard.value) }) };
  } },
  transfer: { button: "Announce transfer", form: () => {
    const input = (name, more = {}) => h("input", { name, required: true, ...more });
    const [source, target, currency, size, fee, reason] = [input("source"), input("target"), input("currency"), input("amount"), input("fee", { value: "0" }), reasonField()];
    return { content: [field("Leaves (a venue, or outside)", source), field("Arrives (a venue, or outside)", target), field("Currency", currency), field("Amount, the fee included", size), field("Fee", fee), field("Reason", reason)],
      value: () => ({ source: source.value, target: target.value, currency: currency.value, amount: size.value, fee: fee.value, reason: reason.value }) };
  } },
};

function drawActions() {
  const buttons = [["halt", "Halt…", "danger"], ["resume", "Resume…"], ["close", "Close positions…"], ["limits", "Limits…"], ["move", "Move pairs…"], ["inventory", "Inventory and proposals…"]];
  $("actions").replaceChildren(...buttons.map(([kind, text, cls]) => h("button", { type: "button", class: cls, "data-action": kind, onclick: () => openAction(kind, {}) }, text)));
}

async function openAction(kind, given) {
  const instance = given.instance ?? (selected.size === 1 ? [...selected][0] : null);
  if (instance === null) { askInstance(kind, given); return; }
  try {
    if (kind === "inventory") { await openInventory(instance); return; }
    if (kind === "limits") given = { ...given, lines: (await call("POST", "/api/limits", { instance })).lines };
  } catch (error) {
    showDialog(kind, [h("p", { class: "problem" }, error.message)]);
    return;
  }
  const action = ACTIONS[kind];
  const form = action.form(given);
  showDialog(`${action.button}: ${instance}`, form.content, "Show what will happen", async () => {
    const body = { action: kind, instance, ...form.value() };
    const plan = await call("POST", "/api/plan", body);
    confirm(kind, instance, body, plan.text);
  });
}

function confirm(kind, instance, body, plan) {
  const action = ACTIONS[kind];
  const head = boards.get(instance)?.sections.head;
  showDialog(`${action.button}: ${instance}?`, [
    h("p", {}, h("span", { class: "badge" }, head?.mode ?? ""), ` ${head?.orders ?? ""}`), h("p", { class: "plan" }, plan),
  ], `${action.button} now`, async () => {
    const answer = await call("POST", "/api/act", body);
    showDialog(`${action.button}: ${instance}`, [h("p", { class: "answer" }, answer.text)]);
  }, undefined, action.danger ? "danger" : "primary");
}

function askInstance(kind, given) {
  const choice = h("select", { name: "instance" }, ...[...selected].map((name) => h("option", { value: name }, name)));
  showDialog("Which instance?", [field("Instance", choice)], "Next", () => openAction(kind, { ...given, instance: choice.value }));
}

async function openInventory(instance) {
  const { inventory, proposals } = await call("POST", "/api/inventory", { instance });
  const place = h("div", { class: "scroll" });
  table(place, [
    { title: "venue", text: (line) => line.venue }, { title: "currency", text: (line) => line.currency },
    { title: "have", number: true, text: (line) => exact(line.have) }, { title: "free", number: true, text: (line) => exact(line.free) },
    { title: "for orders", number: true, text: (line) => exact(line.for_orders) }, { title: "for ways out", number: true, text: (line) => exact(line.for_ways_out) },
    { title: "per day", number: true, text: (line) => exact(line.per_day) },
    { title: "runs out", text: (line) => (line.runs_out_ms ? new Date(line.runs_out_ms).toISOString().slice(0, 16).replace("T", " ") : "–") },
    { title: "worth", number: true, text: (line) => (line.worth === null ? "no price" : amount(line.worth)) },
    { title: "refused", number: true, text: (line) => line.refused },
  ], inventory.lines, (line) => `${line.venue} ${line.currency}`, "Nothing is owned.");
  showDialog(`Inventory: ${instance}`, [
    proposals.length ? h("ul", {}, ...proposals.map((text) => h("li", {}, text))) : h("p", {}, "Nothing needs to be moved."), place,
  ], "Announce a transfer", () => openAction("transfer", { instance }));
  $("dialog").className = "large";
}

// beginning

$("filter").addEventListener("input", () => { sortedAt = 0; mark("pairs"); });
$("which").addEventListener("change", () => { sortedAt = 0; mark("pairs"); });
$("grid-body").addEventListener("scroll", () => mark("pairs"), { passive: true });
window.addEventListener("resize", () => mark("pairs"));
drawGridHead();
if (location.hash.startsWith("#token=")) {
  const token = decodeURIComponent(location.hash.slice(7));
  history.replaceState(null, "", location.pathname);
  await call("POST", "/api/session", { token, person: "" }).catch((error) => openSignIn(error.message));
}
await start();
