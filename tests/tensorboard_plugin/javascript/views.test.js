// What the views work out before they draw.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { because, detail, percentile, toDo, verdict } from "../static/detail.js";
import { number, shortened, ticks } from "../static/dom.js";
import { headline } from "../static/headline.js";
import { DEFAULTS, format, parse } from "../static/link.js";
import { Step, expectedCurve, matrix } from "../static/step.js";
import { inSentence, quantityOf } from "../static/quantities.js";
import { columnsOf } from "../static/columns.js";
import { decode } from "../static/wire.js";

/** @import { State } from "../static/link.js" */

function step(name = "ten labels") {
  return new Step(decode(Uint8Array.from(readFileSync(new URL(`../fixtures/${name}.bin`, import.meta.url))).buffer));
}

test("a state goes through a link and comes back", () => {
  /** @type {State} */
  const state = { ...DEFAULTS, run: 'a&b=c#d "<i>" %41 ש', tag: "cossim_val", step: 120, run2: "other", step2: 7, x: "raw_cosine", map: "logit_correlation", labels: "flagged", sort: "overlap", down: false, search: "coat & shirt", flags: ["stranger", "none"], pinned: true, brush: { key: "raw_cosine", x: [-0.5, 0.25], y: [0, 0.125] }, pair: [3, 17], pins: [[0, 1], null, [4, 9]] };
  assert.deepEqual(parse(format(state)), state);
});

test("a link keeps what is not ours, and leaves out what is at its default", () => {
  assert.equal(format(DEFAULTS, "#lightning_cossim&other=1"), "#lightning_cossim&other=1");
  assert.equal(format({ ...DEFAULTS, step: 3 }, "#lightning_cossim&p.lightning_cossim.step=9"), "#lightning_cossim&p.lightning_cossim.step=3");
});

test("a link of an earlier version keeps its filter", () => {
  const read = (/** @type {string} */ flag) => parse(`#p.lightning_cossim.query=coat&p.lightning_cossim.flag=${flag}`);
  assert.deepEqual([read("flagged").search, read("flagged").flags, read("look-alike").flags, read("").flags], ["coat", ["stranger", "look-alike"], ["look-alike"], []]);
});

test("a rectangle in a link has four ends, in any order; an empty one is open", () => {
  const read = (/** @type {string} */ value) => parse(`#p.lightning_cossim.brush=${encodeURIComponent(value)}`).brush;
  assert.deepEqual(read("raw_cosine,1,-1,0.5,0"), { key: "raw_cosine", x: [-1, 1], y: [0, 0.5] });
  const open = /** @type {const} */ ({ key: "raw_cosine", x: [0.25, Infinity], y: [-Infinity, Infinity] });
  assert.deepEqual(read("raw_cosine,0.25,,,"), open);
  assert.deepEqual(parse(format({ ...DEFAULTS, brush: { key: "raw_cosine", x: [0.25, Infinity], y: [-Infinity, Infinity] } })).brush, open);
  for (const broken of ["", "raw_cosine", "raw_cosine,1,2,3", "raw_cosine,,,,", "raw_cosine,1,2,3, ", "raw_cosine,1,2,3,x", "raw_cosine,1,2,3,4,5"]) assert.equal(read(broken), null);
});

test("a link that makes no sense is the default", () => {
  const broken = "#p.lightning_cossim.step=x&p.lightning_cossim.pair=1-2-3&p.lightning_cossim.pins=a,1-2&p.lightning_cossim.run=%E0%A4%A&p.lightning_cossim.__proto__=1";
  assert.deepEqual(parse(broken), { ...DEFAULTS, pins: [[1, 2]] });
  assert.deepEqual(parse(""), DEFAULTS);
});

test("a pair is found by its labels, whichever place they have", () => {
  const one = step("chosen pairs");
  for (const index of [0, 17, one.num - 1]) assert.equal(one.indexOf(one.pairAt(index)), index);
  assert.equal(one.indexOf([999998, 999999]), -1);
  assert.equal(one.indexOf(null), -1);
});

test("a pair is found in another run by its names", () => {
  const [one, other] = [step(), step()];
  other.labels = [...other.labels].reverse(); // the same names, rows of the head counted the other way round
  other.placeOf = new Map(other.labels.map((label, place) => [label, place]));
  assert.deepEqual(other.pairFrom(one, [2, 6]), [3, 7]);
  other.names = other.names.map((name) => `${name}!`);
  assert.equal(other.pairFrom(one, [2, 6]), null);
});

test("names that are not of one label alone are no way to find a pair", () => {
  const [one, other] = [step(), step()];
  for (const side of [one, other]) side.names = side.names.map((name, place) => (place < 3 ? "the" : name));
  assert.deepEqual(other.pairFrom(one, [1, 6]), [1, 6]); // the same row, of the same name
  other.labels = [...other.labels].reverse();
  assert.equal(other.pairFrom(one, [1, 6]), null);
});

test("a label keeps the name that some step had for it", () => {
  const one = step();
  one.known = new Map([[4711, "zebra"]]);
  assert.deepEqual([one.nameOf(4711), one.nameOf(12), one.nameOf(2)], ["zebra", "label 12", "Pullover"]);
});

test("a matrix is symmetric, in the order asked for, and NaN where there is no pair", () => {
  const one = step();
  const order = [6, 2, 4];
  const cells = matrix(one, one.values.overlap, order);
  assert.equal(cells.length, 9);
  assert.ok(Number.isNaN(cells[0]) && Number.isNaN(cells[4]));
  assert.equal(cells[1], one.values.overlap[one.indexOf([2, 6])]);
  assert.equal(cells[1], cells[3]);
  assert.ok(matrix(one, one.values.overlap, [6, 12345]).every(Number.isNaN));
});

test("the curve of expected overlaps never falls, from the lowest cosine to the highest", () => {
  const one = step();
  const curve = expectedCurve(one);
  curve.slice(1).forEach(([x, y], at) => assert.ok(x > curve[at][0] && y >= curve[at][1]));
  const cosines = one.values[one.cosine];
  const close = (/** @type {number} */ got, /** @type {number} */ wanted) => assert.ok(Math.abs(got - wanted) < 1e-3, `${got}, not ${wanted}`);
  close(curve[0][0], Math.min(...cosines));
  close(curve[curve.length - 1][0], Math.max(...cosines));
});

test("in an older run the curve goes through the expected overlaps of all pairs", () => {
  for (const one of [step("version 1"), step("version 2")]) {
    const curve = expectedCurve(one);
    assert.deepEqual(curve.map(([, y]) => y).sort(), Array.from(one.values.expected_overlap).sort());
    curve.slice(1).forEach(([x], at) => assert.ok(x >= curve[at][0]));
  }
});

test("where nothing is expected there is no curve", () => assert.deepEqual(expectedCurve(step("three labels")), []));

test("a headline says what there is", () => {
  const [lead, flagged, agreement, trust] = headline(step());
  assert.match(lead, /^“.+” and “.+” are furthest off: overlap [\d.]+, expected [\d.]+\.$/);
  assert.match(agreement, /^The label-centered cosine and the overlap rank pairs of labels in .* order \(rank agreement \d\.\d{3}, standard error 0\.\d{3}; share explained −?\d\.\d{3}\)\.$/);
  assert.match(flagged, /^\d+ strangers? and \d+ look-alikes? among 45 pairs of 10 labels\.$/);
  assert.match(trust, /^Based on 400 inputs; reliability 0\.\d+: other inputs (would|could) give /);
});

test("a headline says in words how far two orders agree", () => {
  const one = step();
  /** @type {[number, string][]} */
  const orders = [[0.81, "nearly the same order"], [0.8, "a similar order"], [0.5, "a weakly similar order"], [0.2, "no common order"], [-0.19, "no common order"], [-0.2, "partly opposite orders"]];
  for (const [value, words] of orders) {
    one.scalars.rank_agreement_centered_cosine = value;
    one.scalars.explained_centered_cosine = 0.25;
    one.standard_errors = { rank_agreement_centered_cosine: 0.0345 };
    assert.equal(headline(one)[2], `The label-centered cosine and the overlap rank pairs of labels in ${words} (rank agreement ${number(value)}, standard error 0.035; share explained 0.250).`);
  }
  one.standard_errors = {}; // of many labels, most reports have none
  assert.match(headline(one)[2], /\(rank agreement −0\.200; share explained 0\.250\)\.$/);
});

test("a headline says by how much overlaps may be larger", () => {
  const one = step();
  one.truncation = 0.0123;
  assert.match(headline(one)[3], /^Based on 400 inputs, overlaps may be up to 0\.012 larger; reliability /);
});

/** The first pair with hand-made numbers. */
function handMade(name = "ten labels") {
  const one = step(name);
  const numbers = { overlap: 0.4126, overlap_error: 0.0213, expected_overlap: 0.25, gap: 0.1626, joint_inputs: 17 };
  for (const [key, value] of Object.entries(numbers)) one.values[key][0] = value;
  return one;
}

test("a pair is told with its error, its expectation, its joint inputs, and why it is not flagged", () => {
  const one = handMade();
  assert.deepEqual(detail(one, 0), ["overlap 0.413 ± 0.021, expected 0.250, gap +0.163", "joint inputs 17"]);
  one.flag[0] = 0;
  one.why[0] = one.reasons.indexOf("too few joint inputs");
  assert.equal(verdict(one, 0), "not flagged: too few joint inputs");
  one.flag[0] = 2;
  one.why[0] = 0;
  assert.equal(verdict(one, 0), "▼ look-alike");
  one.values.overlap_error[0] = NaN;
  assert.equal(detail(one, 0)[0], "overlap 0.413, expected 0.250, gap +0.163");
});

test("a pair is told with what targets say of it", () => {
  const one = handMade("known targets");
  assert.deepEqual(detail(one, 0).slice(2), ["12 inputs of “T-shirt” predicted as “Trouser”, 3 the reverse", "joint mass: 50% on inputs of “T-shirt”, 25% of “Trouser”, 25% of neither"]);
  assert.deepEqual(detail(one, 1).slice(2), ["1 input of “T-shirt” predicted as “Pullover”, 0 the reverse"]);
});

test("a pair of an older run is told with what there is", () => {
  const one = step("version 1");
  assert.match(detail(one, 0).join(), /^overlap [\d.]+, expected overlap [\d.]+, gap [+−]?[\d.]+$/);
  assert.equal(verdict(one, one.flag.indexOf(0)), "");
});

test("where there is no verdict, that is why no pair is flagged", () => assert.equal(verdict(step("three labels"), 0), "not flagged: no verdict"));

test("why a pair is flagged is said with its gap and its limit", () => {
  const one = handMade();
  one.limits = { strangers: 0.1, lookalikes: 0.12 };
  one.flag[0] = 1;
  assert.equal(because(one, 0), "It overlaps more than pairs with its cosine do. Its gap, +0.163 ± 0.021, exceeds 0.100 by more than 1.9 standard errors.");
  one.flag[0] = 2;
  one.values.gap[0] = -0.1626;
  assert.equal(because(one, 0), "It overlaps less than pairs with its cosine do. Its gap, −0.163 ± 0.021, exceeds 0.120 by more than 1.9 standard errors.");
});

test("why a pair is not flagged is a sentence for every reason", () => {
  const one = handMade();
  one.flag[0] = 0;
  one.limits = { strangers: 0.2, lookalikes: 0.2 };
  one.thresholds = { ...one.thresholds, stranger: 0.1, min_joint_inputs: 20 };
  const sentence = (/** @type {string} */ reason) => {
    one.why[0] = one.reasons.indexOf(reason);
    return because(one, 0);
  };
  const reasons = one.reasons.slice(1);
  assert.equal(reasons.length, 11);
  assert.deepEqual(reasons.filter((reason) => sentence(reason) === `It is not flagged: ${reason}.`), []);
  assert.equal(sentence("below threshold"), "Its gap, +0.163 ± 0.021, is within the limit, 0.200.");
  assert.equal(
    sentence("within the spread of gaps"),
    "Its gap, +0.163 ± 0.021, exceeds the threshold, 0.100, but not the limit, 0.200, which is the spread of the gaps of all pairs.",
  );
  assert.equal(sentence("within error"), "Its gap, +0.163 ± 0.021, exceeds 0.200, but not by 1.9 standard errors: other inputs could give a smaller gap.");
  assert.equal(sentence("too few joint inputs"), "Its gap, +0.163 ± 0.021, is large, but both labels are likely on 17 inputs only; a stranger needs 20.");
  one.reasons = ["", "of a later version"];
  assert.equal(sentence("of a later version"), "It is not flagged: of a later version.");
  one.verdict = "100 inputs, verdicts need 256";
  assert.equal(because(one, 0), "No pair is judged: 100 inputs, verdicts need 256.");
  const old = step("version 1");
  assert.equal(because(old, old.flag.indexOf(0)), "");
  assert.match(because(old, old.flag.indexOf(1)), /^It overlaps more than pairs with its cosine do\. Its gap, \+[\d.]+, exceeds 0\.030\.$/);
});

test("what to do depends on the flag", () => {
  const one = handMade();
  const said = [1, 2, 0].map((flag) => ((one.flag[0] = flag), toDo(one, 0)));
  assert.equal(toDo(step("three labels"), 0), "Nothing yet: no pair is judged.");
  [/^Compare the inputs of both labels\./, /^In most cases, nothing\./, /^Nothing: /].forEach((pattern, at) => assert.match(said[at], pattern));
});

test("a percentile is the share of the other pairs with a lower value", () => {
  const one = step();
  const values = one.values.raw_cosine;
  values.fill(0.5);
  [values[0], values[1], values[2]] = [0.9, 0.1, NaN];
  assert.deepEqual([0, 1, 3].map((pair) => percentile(one, "raw_cosine", pair)), [100, 0, 50]);
  assert.ok(Number.isNaN(percentile(one, "raw_cosine", 2)));
});

test("a headline says why there is nothing", () => {
  const [flagged, agreement] = headline(step("three labels"));
  assert.match(agreement, /^The rank agreement of the label-centered cosine with the overlap is unknown: 3 pairs of labels, at least 10 are needed\.$/);
  assert.match(flagged, /^No verdict on pairs: 3 pairs of labels, verdicts need 45\.$/);
});

test("numbers are read as numbers", () => {
  assert.deepEqual([0, -0.00001, 0.12345, 12.345, 1234.5, NaN, null].map((value) => number(value)), ["0.000", "−1.0e-5", "0.123", "12.3", "1235", "–", "–"]);
  assert.deepEqual([0.5, -0.5, 0].map((value) => number(value, { signed: true })), ["+0.500", "−0.500", "0.000"]);
  assert.deepEqual([0, 17, 65_534, NaN].map((value) => number(value, { whole: true })), ["0", "17", "65534", "–"]);
  assert.equal(number(-198, { signed: true, whole: true }), "−198");
  assert.deepEqual(ticks(-1, 1, 4), [-1, -0.5, 0, 0.5, 1]);
  assert.deepEqual(ticks(2, 2), [2]);
  assert.equal(shortened("😀😀😀😀", 3), "😀😀…");
});

test("whether an input can bring out both labels is said in words", () => {
  const one = step();
  assert.equal(one.onTopAt(0), "");
  one.reach = new Uint8Array(one.num).map((_, pair) => pair % 4);
  one.flag = new Uint8Array(one.num).map((_, pair) => (pair === 6 ? 2 : 1));
  assert.deepEqual([0, 1, 2, 3, 6].map((pair) => one.onTopAt(pair)), ["", "never together", "possible", "undecided", "possible, not seen"]);
});

test("what a similarity is called and means comes from Python", () => {
  const one = step();
  assert.equal(one.quantity("centered_cosine").title, "Label-centered cosine");
  assert.ok(one.quantity("centered_cosine").about.length > 0);
  assert.deepEqual(one.quantities.map(({ key }) => key).sort(), [...one.similarities, "overlap", "overlap_error", "expected_overlap", "joint_inputs", "gap"].sort());
  assert.equal(one.quantity("log_odds_variance").direction, -1);
});

test("a step of version 1 calls everything by its key", () => {
  const [one, now] = [step("version 1"), step()];
  assert.deepEqual(one.similarities, now.similarities);
  const { overlap_error: error, joint_inputs: joint, ...values } = now.values;
  assert.deepEqual(one.values, values);
  assert.deepEqual(columnsOf(one).map(({ text }) => text), ["label", "other", "flag", "gap", "overlap", "expected overlap", "raw cosine", "centered cosine", "logit correlation", "log odds variance"]);
  assert.deepEqual(columnsOf(one).map(({ key }) => key), columnsOf(now).map(({ key }) => key).filter((key) => !["why_unflagged", "overlap_error", "joint_inputs"].includes(key)));
  assert.match(headline(one)[2], /^The centered cosine explains (nearly all|more than half|a part|little|almost none) of the overlap between labels \(\d+%\)\.$/);
  assert.deepEqual(quantityOf([], "raw_cosine"), { key: "raw_cosine", title: "raw cosine", column: "raw cosine", low: null, high: null, direction: 1, about: [] });
});

test("a title within a sentence is no capital, unless it is an abbreviation", () => {
  assert.deepEqual(["Label-centered cosine", "CKA", "Gap", ""].map(inSentence), ["label-centered cosine", "CKA", "gap", ""]);
});
