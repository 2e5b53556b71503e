/* What the explorer's pages do beyond their charts: keep up with the chain, copy, check, count down, keys. */
(function () {
  "use strict";
  var body = document.body, main = document.getElementById("main"), pill = document.querySelector(".live");
  var version = Number(body.dataset.version), pending = false, wait = 0;

  function state(name, text) {
    pill.dataset.state = name;
    pill.querySelector("span").textContent = text;
  }

  /* Replace what the page shows by what the server shows now; what was open stays open. */
  function refresh() {
    if (document.hidden || busy()) { pending = true; return; }
    pending = false;
    fetch(location.href, { credentials: "same-origin" }).then(function (answer) {
      return answer.ok ? answer.text() : Promise.reject(answer.status);
    }).then(function (text) {
      if (busy()) { pending = true; return; }
      var parsed = new DOMParser().parseFromString(text, "text/html"), fresh = parsed.getElementById("main");
      if (!fresh) { return; }
      document.title = parsed.title;
      var opened = Array.from(main.querySelectorAll("details")).map(function (one) { return one.open; });
      var scrolled = Array.from(main.querySelectorAll(".scroll")).map(function (one) { return [one.scrollLeft, one.scrollTop]; });
      main.replaceChildren.apply(main, Array.from(fresh.childNodes));
      window.bcflCharts.draw(main);
      start(main);
      var details = main.querySelectorAll("details"), frames = main.querySelectorAll(".scroll");
      if (details.length === opened.length) { details.forEach(function (one, place) { one.open = opened[place]; }); }
      if (frames.length === scrolled.length) { frames.forEach(function (one, place) { one.scrollLeft = scrolled[place][0]; one.scrollTop = scrolled[place][1]; }); }
    }).catch(function () { /* the next message tries again */ });
  }
  /* Whether somebody is at work on the page: typing, selecting, or reading a chart. */
  function busy() {
    var at = document.activeElement, chosen = getSelection();
    return Boolean(at && main.contains(at) && at !== main && at.matches("input, select, textarea, .plot")) || Boolean(chosen && !chosen.isCollapsed && main.contains(chosen.anchorNode));
  }
  function later() {
    clearTimeout(wait);
    wait = setTimeout(refresh, 400);
  }
  function listen() {
    var source = new EventSource(body.dataset.live);
    source.onmessage = function (message) {
      var news = JSON.parse(message.data);
      if (!("still" in body.dataset)) { state(news.away ? "lost" : "live", news.away ? "node away" : "live"); }
      if (news.version !== version) { later(); }
      version = news.version;
    };
    source.onerror = function () { state("lost", "not reached"); };
    document.addEventListener("visibilitychange", function () { if (!document.hidden && pending) { later(); } });
    setInterval(function () { if ((pending || main.querySelector("[data-reading]")) && !document.hidden) { refresh(); } }, 3000);
    addEventListener("pagehide", function () { source.close(); });
  }

  /* The one click that checks a model. */
  function check(link) {
    link.addEventListener("click", function (event) {
      event.preventDefault();
      var badge = document.createElement("span");
      badge.className = "status running";
      badge.setAttribute("role", "status");
      badge.textContent = "reading";
      link.replaceWith(badge);
      fetch(link.getAttribute("href") + ".json").then(function (answer) { return answer.json(); }).then(function (found) {
        var judged = typeof found.holds === "boolean"; /* else nobody could look: that says nothing of the model */
        badge.className = "status " + (found.holds ? "holds" : judged ? "wrong" : "quiet");
        badge.textContent = found.holds ? "root holds, " + found.seconds + " s" : judged ? "wrong" : "not checked";
        badge.title = found.reason || found.error || "The root was computed again from the store's bytes: " + found.root;
      }).catch(function () { badge.className = "status wrong"; badge.textContent = "not reached"; });
    });
  }
  function copy(node) {
    node.addEventListener("click", function () {
      if (!navigator.clipboard) { return; }
      navigator.clipboard.writeText(node.dataset.copy).then(function () {
        node.dataset.copied = "yes";
        setTimeout(function () { delete node.dataset.copied; }, 900);
      }).catch(function () { /* not allowed here */ });
    });
  }
  /* What is left of a phase, where the chain's clock is about ours. */
  function countdown(node) {
    var end = Number(node.dataset.deadline), now = Number(node.dataset.now), shift = now - Date.now() / 1000;
    if (Math.abs(shift) > 300) { return; }
    var whole = node.textContent;
    function tick() {
      if (!node.isConnected) { clearInterval(timer); return; }
      var left = Math.round(end - Date.now() / 1000 - shift);
      node.textContent = whole + (left > 0 ? " (" + (left >= 120 ? Math.round(left / 60) + " min" : left + " s") + " left)" : "");
    }
    var timer = setInterval(tick, 1000);
    tick();
  }
  function start(root) {
    root.querySelectorAll("[data-check]").forEach(check);
    root.querySelectorAll("[data-copy]").forEach(copy);
    root.querySelectorAll("[data-deadline]").forEach(countdown);
    var choice = root.querySelector("select#function");
    if (choice) {
      choice.addEventListener("change", function () { location.href = "/contract?function=" + encodeURIComponent(choice.value) + "#read"; });
    }
  }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) { return; }
    var rel = { "[": "prev", "]": "next" }[event.key];
    var link = rel && document.querySelector('a[rel="' + rel + '"]');
    if (link) { link.click(); }
    if (event.key === "/") { event.preventDefault(); document.getElementById("find").focus(); }
  });
  start(document);
  if (body.dataset.live && window.EventSource) { listen(); }
})();
