"use strict";
{% include "scripts/copy.js" %}
{% include "scripts/reload.js" %}
{% include "scripts/decide.js" %}
{% include "scripts/what_if.js" %}
{% include "scripts/leaderboard.js" %}
{% include "scripts/chart.js" %}

document.documentElement.classList.add("js");
const words = document.body.dataset;
copyButtons({ copy: words.copy, copied: words.copied });
document.querySelectorAll("[data-reload]").forEach(reloads);
document.querySelectorAll("[data-leaderboard]").forEach(leaderboard);
document.querySelectorAll("[data-charts]").forEach(drawCharts);
const carried = document.getElementById("what-if-data");
if (carried) whatIf(document.getElementById("what-if"), JSON.parse(carried.textContent));
