// What a link names is found, or said to be missing.

import assert from "node:assert/strict";
import { test } from "node:test";

import { DEFAULTS } from "../static/link.js";
import { lookUp, nearest, stageOf } from "../static/lookup.js";

/** @import { Run } from "../static/data.js" */
/** @import { State } from "../static/link.js" */

/** @type {Run[]} */
const RUNS = [
  { run: "a", tags: [{ tag: "cossim_train", steps: [[10, 1]] }, { tag: "cossim_val", steps: [[10, 2], [20, 3], [30, 4]] }] },
  { run: "b", tags: [{ tag: "cossim_val", steps: [[10, 8], [24, 9]] }] },
  { run: "c", tags: [{ tag: "cossim_test", steps: [] }] },
];

/** @param {Partial<State>} state */
const found = (state, runs = RUNS) => lookUp(runs, { ...DEFAULTS, ...state });

test("without a choice it is the last step of the validation of the run that was written last", () => {
  const { one, other, missing } = found({});
  assert.deepEqual([one?.run, one?.tag, one?.at, other, missing], ["b", "cossim_val", 1, null, ""]);
  assert.deepEqual(found({ run: "a" }).one?.at, 2);
});

test("without steps nothing is found, and nothing missing", () => assert.deepEqual(found({}, [RUNS[2]]), { one: null, other: null, missing: "", note: "" }));

test("what is missing is said, and nothing is shown in its place", () => {
  /** @type {[Partial<State>, string][]} */
  const broken = [
    [{ run: "gone" }, "TensorBoard has no run “gone” with steps of this tab."],
    [{ run: "c" }, "TensorBoard has no run “c” with steps of this tab."],
    [{ run: "b", tag: "cossim_train" }, "The run “b” has no stage “train”."],
    [{ run: "a", step: 1500 }, "Step 1,500 of “a” is not among the 3 steps that TensorBoard has of the stage “val”."],
  ];
  for (const [state, missing] of broken) assert.deepEqual(found(state), { one: null, other: null, missing, note: "" });
});

test("two runs are compared at the same step, or the one nearest to it", () => {
  const at = (/** @type {Partial<State>} */ state) => [found(state).one?.at, found(state).other?.at];
  assert.deepEqual(at({ run: "a", run2: "b" }), [2, 1]);
  assert.deepEqual(at({ run: "a", run2: "b", step: 20 }), [1, 1]);
  assert.deepEqual(at({ run: "a", run2: "b", step: 10 }), [0, 0]);
  assert.deepEqual(at({ run: "a", run2: "b", step: 20, step2: 10 }), [1, 0]);
  assert.deepEqual(at({ run: "a", run2: "a", step: 30, step2: 10 }), [2, 0]);
});

test("another monitor's tag of the same stage is compared, if it is the only one", () => {
  const tag = (/** @type {string[]} */ ...names) => {
    const other = { run: "d", tags: names.map((name) => /** @type {Run["tags"][number]} */ ({ tag: name, steps: [[10, 1]] })) };
    return found({ run: "a", run2: "d" }, [...RUNS, other]).other?.tag;
  };
  assert.equal(tag("cossim_head_val", "cossim_head_train"), "cossim_head_val");
  assert.equal(tag("cossim_head_val", "cossim_val"), "cossim_val");
  assert.equal(tag("cossim_head_val", "cossim_tail_val"), undefined);
  assert.equal(tag("cossim_head_test"), undefined);
});

test("a comparison with something that is missing is said beside the run", () => {
  const { one, other, note } = found({ run: "a", run2: "gone" });
  assert.deepEqual([one?.run, other, note], ["a", null, "Nothing to compare with. TensorBoard has no run “gone” with steps of this tab."]);
  assert.equal(found({ run: "a", run2: "a", step2: 11 }).note, "Nothing to compare with. Step 11 of “a” is not among the 3 steps that TensorBoard has of the stage “val”.");
});

test("the nearest step is found, the earlier one of two", () => assert.deepEqual([0, 14, 15, 16, 99].map((step) => nearest([[10, 0], [20, 0], [30, 0]], step)), [0, 0, 0, 1, 2]));

test("a stage is named without its prefix", () => assert.deepEqual(["cossim_val", "cossim_my_head_val"].map(stageOf), ["val", "my head val"]));
