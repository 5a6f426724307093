// What select/decision.py does, on the draws that the page carries: the same sums in the same order, so that both say the same.

function unpack(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Kind(bytes.buffer);
}

// One array of draws for each distinct candidate: one of each pair, then the others.
function drawsOf(packed) {
  const centres = unpack(packed.centre, Float64Array), sizes = unpack(packed.step, Float64Array);
  const steps = unpack(packed.steps, Int8Array);
  const numPairs = packed.num_pairs.reduce((sum, number) => sum + number, 0);
  const width = centres.length / packed.num_pairs.length;
  return Array.from({ length: width }, (_, column) => {
    const draws = new Float64Array(2 * numPairs);
    let pair = 0;
    packed.num_pairs.forEach((number, part) => {
      const centre = centres[part * width + column], size = sizes[part * width + column];
      for (let end = pair + number; pair < end; pair++) {
        const away = steps[pair * width + column] * size;
        draws[pair] = centre + away;
        draws[numPairs + pair] = centre - away;
      }
    });
    return draws;
  });
}

// Doublings of latency above the lowest; close ones count as the lowest of their group, unknown ones as slower than the slowest.
function doublings(candidates, terms) {
  const known = candidates.filter((each) => each.latency_ms !== null).sort((a, b) => a.latency_ms - b.latency_ms);
  const found = new Map();
  for (let start = 0, end; start < known.length; start = end) {
    const lowest = known[start].latency_ms;
    for (end = start; end < known.length && known[end].latency_ms <= lowest * (1 + terms.tie_frac); end++)
      found.set(known[end], Math.log2(lowest / known[0].latency_ms));
  }
  const slowest = known.length ? Math.max(...found.values()) + terms.unknown_doublings : 0;
  return candidates.map((each) => found.get(each) ?? slowest);
}

function first(among, values, slower, candidates, same) {
  const highest = Math.max(...among.map((k) => values[k]));
  const near = among.filter((k) => values[k] >= highest - same);
  const cost = (k) => candidates[k].train_cost ?? Infinity;
  const byLabel = (a, b) => compareText(candidates[a].label, candidates[b].label);
  return near.sort((a, b) => slower[a] - slower[b] || (cost(a) === cost(b) ? 0 : cost(a) - cost(b)) || byLabel(a, b))[0];
}

// By code points, as Python compares texts.
function compareText(one, other) {
  const a = Array.from(one, (letter) => letter.codePointAt(0)), b = Array.from(other, (letter) => letter.codePointAt(0));
  for (let place = 0; place < Math.min(a.length, b.length); place++) if (a[place] !== b[place]) return a[place] - b[place];
  return a.length - b.length;
}

function share(length, isSo) {
  let number = 0;
  for (let r = 0; r < length; r++) if (isSo(r)) number++;
  return number / length;
}

// The candidate of the highest expected utility that is rarely far behind another, its probability and its expected loss.
function decide(candidates, columns, price, terms) {
  const slower = doublings(candidates, terms);
  const cost = slower.map((number) => price * terms.point * number);
  const utility = candidates.map((each, k) => each.mean - cost[k]);
  const all = candidates.map((_, k) => k), length = columns[0].length;
  const lowest = new Map();
  candidates.forEach((each, k) => lowest.set(each.column, Math.min(cost[k], lowest.get(each.column) ?? Infinity)));
  const best = new Float64Array(length).fill(-Infinity), worth = new Float64Array(length).fill(-Infinity);
  for (const [column, least] of lowest)
    for (let r = 0; r < length; r++) {
      best[r] = Math.max(best[r], columns[column][r]);
      worth[r] = Math.max(worth[r], columns[column][r] - least);
    }
  const behind = (k, paid) => share(length, (r) => worth[r] - (columns[candidates[k].column][r] - paid) > terms.margin);
  const isSafe = (k) => behind(k, cost[k]) <= terms.max_prob_behind;
  let chosen = first(all, utility, slower, candidates, terms.same);
  if (!isSafe(chosen)) {
    const maybe = all.filter((k) => behind(k, lowest.get(candidates[k].column)) <= terms.max_prob_behind);
    const safe = [...maybe].sort((a, b) => utility[b] - utility[a]).find(isSafe);
    if (safe !== undefined) {
      const equals = maybe.filter((k) => utility[k] >= utility[safe] - terms.same && isSafe(k));
      chosen = first(equals, utility, slower, candidates, terms.same);
    }
  }
  const own = columns[candidates[chosen].column];
  const twins = candidates.filter((each) => each.column === candidates[chosen].column).length;
  let lost = 0;
  for (let r = 0; r < length; r++) lost += best[r] - own[r];
  return { chosen, probBest: share(length, (r) => own[r] >= best[r]) / twins, loss: lost / length };
}

// As Python rounds: what lies in the middle goes to the even digit.
function fixed(value, digits) {
  const text = value.toFixed(digits), twice = value * 2 * 10 ** digits;
  const isMiddle = Number.isInteger(value * 2 ** (digits + 1)) && Number.isInteger(twice) && twice % 2 !== 0;
  if (!isMiddle) return text;
  const down = Math.floor(value * 10 ** digits);
  return ((down % 2 === 0 ? down : down + 1) / 10 ** digits).toFixed(digits);
}

function chance(frac) {
  const shown = fixed(100 * Math.min(Math.max(frac, 1e-9), 1 - 1e-9), 0);
  return `${shown === "0" ? "below 1" : shown === "100" ? "above 99" : shown}\u00a0%`;
}
