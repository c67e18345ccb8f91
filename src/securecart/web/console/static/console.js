// Draws the ring around an order or a thing, and walks on where somebody chooses a node. The table below says the same.
(async () => {
  "use strict";
  const place = document.getElementById("drawing");
  if (!place || !window.echarts) return;

  const SYMBOLS = {
    order: ["Order", "rect"], account: ["Account", "circle"], device: ["Device", "roundRect"], card: ["Card", "diamond"],
    address: ["Address", "triangle"], email: ["E-mail", "path://M0 20L50 60L100 20V85H0Z"], network: ["Network", "path://M50 0L93 25V75L50 100L7 75V25Z"],
  };
  const KINDS = Object.keys(SYMBOLS);
  const nodes = new Map();
  const links = new Map();
  const walked = new Set([place.dataset.here]);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const tell = (sentence) => { document.getElementById("walked").textContent = sentence; };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  const isNarrow = () => place.clientWidth < 500;

  const fetched = async (address) => {
    const answer = await fetch(address, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.json();
  };

  // How many accounts the picture links to this node.
  const shown = (key) => [...links.values()].filter(({ source, target }) =>
    (source === key && target.startsWith("account:")) || (target === key && source.startsWith("account:"))).length;

  // Takes a drawing in and says how many of its nodes were not there yet.
  const add = (drawing) => {
    const before = nodes.size;
    for (const node of drawing.nodes) {
      if (!nodes.has(node.key)) nodes.set(node.key, node);
    }
    for (const link of drawing.links) links.set([link.source, link.target].sort().join(" "), link);
    for (const node of nodes.values()) node.left_out = Math.max(0, node.accounts - shown(node.key));
    return nodes.size - before;
  };

  // Names of these are never left out where there is little room.
  const weighty = (node) => node.is_fraud || node.key === place.dataset.here;

  const looks = (node) => {
    const here = node.key === place.dataset.here;
    const own = colour(`kind-${node.kind}`);
    const bad = node.is_fraud;
    const more = node.left_out ? `+${node.left_out.toLocaleString("en")}` : "";
    return {
      id: node.key, name: node.key, x: node.x, y: node.y, category: KINDS.indexOf(node.kind), symbol: SYMBOLS[node.kind][1],
      symbolSize: (here ? 38 : node.kind === "order" ? 18 : 24) * (isNarrow() ? 0.7 : 1),
      itemStyle: {
        color: bad ? colour("fraud") : own, borderWidth: here ? 5 : node.left_out || node.frauds ? 3 : 1.5,
        borderColor: here ? colour("accent") : node.frauds ? colour("fraud") : colour("surface"),
        borderType: node.left_out && !here ? "dashed" : "solid",
      },
      label: {
        show: true, position: "bottom", fontSize: 11, lineHeight: 14, fontWeight: here || bad ? "bold" : "normal",
        color: bad || node.frauds ? colour("fraud") : colour("ink"), textBorderColor: colour("paper"), textBorderWidth: 3,
        formatter: [node.name, bad ? "fraud" : node.frauds ? `${node.frauds} fraud` : "", more].filter(Boolean).join("\n"),
      },
    };
  };

  document.documentElement.classList.add("drawn");
  const chart = echarts.init(place, null, { renderer: "canvas" });
  const draw = () => {
    const narrow = isNarrow();
    const room = Math.min(place.clientWidth, place.clientHeight);
    chart.setOption({
      aria: { enabled: false },
      animation: !calm,
      legend: { bottom: 6, textStyle: { color: colour("ink") }, data: KINDS.map((kind) => ({ name: SYMBOLS[kind][0], icon: SYMBOLS[kind][1] })) },
      color: KINDS.map((kind) => colour(`kind-${kind}`)),
      tooltip: {
        renderMode: "richText", backgroundColor: colour("surface"), borderColor: colour("line-strong"), textStyle: { color: colour("ink") },
        formatter: ({ dataType, data }) => {
          if (dataType === "edge") return data.since ? `since ${data.since}` : "";
          const node = nodes.get(data.id);
          return [`${SYMBOLS[node.kind][0]} ${node.name}`, node.words].filter(Boolean).join("\n");
        },
      },
      series: [{
        type: "graph", layout: "force", roam: true, draggable: true, scaleLimit: { min: 0.3, max: 4 }, left: narrow ? "14%" : "7%", right: narrow ? "14%" : "7%", top: 30, bottom: narrow ? 120 : 85, preserveAspect: "contain",
        force: { repulsion: room * 1.3, edgeLength: [room / 8, room / 4], gravity: 0.12, layoutAnimation: false },
        labelLayout: ({ dataIndex }) => ({ hideOverlap: !weighty([...nodes.values()][dataIndex]) }),
        categories: KINDS.map((kind) => ({ name: SYMBOLS[kind][0], symbol: SYMBOLS[kind][1] })),
        data: [...nodes.values()].map(looks), links: [...links.values()],
        lineStyle: { color: colour("line-strong"), width: 1.3, opacity: 0.75, curveness: 0.04 },
        emphasis: { focus: "adjacency", lineStyle: { width: 2.5 } },
      }],
    });
    settle();
    place.dataset.nodes = nodes.size;
  };

  // Keeps the places that were found, drawn out to the width there is; the chart then shows all of them, whatever the window.
  const settle = () => {
    const data = chart.getModel().getSeriesByIndex(0).getData();
    const span = (axis) => {
      const values = [...nodes.keys()].map((_, index) => data.getItemLayout(index)[axis]);
      return Math.max(...values) - Math.min(...values) || 1;
    };
    const stretch = Math.min(1.9, Math.max(0.55, (place.clientWidth / place.clientHeight) * (span(1) / span(0))));
    [...nodes.values()].forEach((node, index) => {
      const [x, y] = data.getItemLayout(index);
      Object.assign(node, { x: x * stretch, y });
    });
    chart.setOption({ series: [{ layout: "none", data: [...nodes.values()].map(looks), zoom: 1, center: null }] });
  };

  // What walking on found gets a row too.
  const list = (node) => {
    const row = document.getElementById("things").insertRow();
    if (node.is_fraud || node.frauds) row.className = "bad";
    const kind = row.insertCell().appendChild(document.createElement("span"));
    kind.className = `kind of-${node.kind}`;
    kind.textContent = SYMBOLS[node.kind][0];
    const name = row.insertCell().appendChild(document.createElement("a"));
    Object.assign(name, { className: "id", href: node.page, textContent: node.name });
    Object.assign(row.insertCell(), { className: "known", textContent: node.words });
    row.insertCell().className = "wide-only";
  };

  const walk = async (key) => {
    const node = nodes.get(key);
    if (!node || walked.has(key)) return;
    walked.add(key);
    tell(`Looking around ${SYMBOLS[node.kind][0].toLowerCase()} ${node.name}\u2026`);
    try {
      const known = new Set(nodes.keys());
      const drawing = await fetched(`/console/ring/${node.kind}/${encodeURIComponent(node.id)}`);
      const count = add(drawing);
      [...nodes.values()].filter((one) => !known.has(one.key)).forEach(list);
      draw();
      tell(`${count || "Nothing"} new around ${SYMBOLS[node.kind][0].toLowerCase()} ${node.name}; ${nodes.size} things in all`);
    } catch {
      walked.delete(key);
      tell("The graph cannot be asked at the moment; try again in a few seconds.");
    }
  };

  chart.on("click", ({ dataType, data }) => { if (dataType === "node") walk(data.id); });
  new ResizeObserver(() => chart.resize()).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  try {
    add(await fetched(place.dataset.source));
    draw();
  } catch {
    tell("The picture could not be drawn; the table below says the same.");
  }
})();
