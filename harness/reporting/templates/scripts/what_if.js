// Limits and a price at hand: the choice follows at once, and the command that asks the same is printed.

function whatIf(section, data) {
  const columns = drawsOf(data.draws);
  const inputs = data.limits.map((limit, place) => control(section, limit, place, data.candidates));
  const price = section.querySelector("[data-price]");
  const part = (name) => section.querySelector(`[data-out=${name}]`);

  function asked() {
    const limits = inputs.map((input) => number(input));
    const given = number(price);
    const effective = given ?? (limits[0] !== null ? 0 : data.terms.default_price);
    return { limits, given, effective };
  }

  function command({ limits, given }) {
    const changed = data.limits.flatMap((limit, place) => (limits[place] === limit.given ? [] : [`rank.${limit.key}=${limits[place]}`]));
    if (given !== data.price) changed.push(`rank.points_per_doubling=${given}`);
    return [data.command, ...changed].join(" ");
  }

  function show() {
    const question = asked();
    const within = data.candidates.filter((each) =>
      question.limits.every((limit, place) => limit === null || (each.limited[place] !== null && each.limited[place] <= limit)));
    part("number").textContent = String(within.length);
    part("command").textContent = command(question);
    part("price").textContent = String(question.effective);
    part("answer").hidden = !within.length;
    part("nobody").hidden = within.length > 0;
    if (!within.length) return;
    const found = decide(within, columns, question.effective, data.terms), chosen = within[found.chosen];
    part("choice").textContent = chosen.label;
    part("best").textContent = within.length === 1 ? "–" : chance(found.probBest);
    part("loss").textContent = fixed(found.loss * data.loss.scale, data.loss.digits);
    ["expected", "latency", "parameters", "size"].forEach((name, place) => (part(name).textContent = chosen.words[place]));
  }

  section.addEventListener("input", show);
  section.querySelector("[data-reset]").addEventListener("click", () => {
    inputs.forEach((input, place) => set(input, data.limits[place].given));
    set(price, data.price);
    section.querySelectorAll("input[type=range]").forEach((slider) => slider.dispatchEvent(new Event("reset-from-number")));
    show();
  });
  set(price, data.price);
  show();
  section.hidden = false;
}

function number(input) {
  return input.value === "" || !(Number(input.value) >= 0) ? null : Number(input.value);
}

function set(input, value) {
  input.value = value === null ? "" : String(value);
}

// A slider over the values that candidates have, and the number it stands for; at its right end there is no limit.
function control(section, limit, place, candidates) {
  const slider = section.querySelector(`input[type=range][data-limit="${place}"]`);
  const input = section.querySelector(`input[type=number][data-limit="${place}"]`);
  const values = [...new Set(candidates.map((each) => each.limited[place]).filter((value) => value !== null).map(roundedUp))].sort((a, b) => a - b);
  slider.max = String(values.length);
  const follow = () => {
    const limited = number(input), at = limited === null ? values.length : values.findIndex((value) => value >= limited);
    slider.value = String(at < 0 ? values.length : at);
    slider.setAttribute("aria-valuetext", input.value === "" ? slider.dataset.none : `${input.value} ${limit.unit}`);
  };
  slider.addEventListener("input", () => {
    set(input, Number(slider.value) === values.length ? null : values[Number(slider.value)]);
    follow();
  });
  slider.addEventListener("reset-from-number", follow);
  input.addEventListener("input", follow);
  set(input, limit.given);
  follow();
  return input;
}

// Three digits, never below: who has the value is within it.
function roundedUp(value) {
  const rounded = Number(value.toPrecision(3)), unit = 10 ** (Math.floor(Math.log10(value)) - 2);
  return rounded >= value ? rounded : Number((rounded + unit).toPrecision(3));
}
