// What a step shows, in words.

import { number } from "./dom.js";
import { RUNGS } from "./rungs.js";

/** One sentence on how far the cosine accounts for the overlap, one on the flagged pairs, one on how far to trust both. */
export function headline(step) {
  return [agreement(step), flagged(step), trust(step)];
}

function agreement(step) {
  const cosine = (RUNGS[step.cosine]?.name ?? step.cosine).toLowerCase();
  const explained = step.scalars[`explained_${step.cosine}`];
  if (explained === null || explained === undefined) {
    const why = step.undefined[`explained_${step.cosine}`];
    return `Whether overlaps follow the ${cosine} is not known${why ? `: ${why}` : ""}.`;
  }
  const share = Math.round(100 * Math.max(0, explained));
  const words = [[80, "nearly all"], [50, "more than half"], [20, "a part"], [5, "little"], [-1, "next to nothing"]].find(([least]) => share > least)[1];
  return `The ${cosine} accounts for ${words} of the overlap between labels (${share} %).`;
}

function flagged(step) {
  if (step.verdict) return `No verdict on pairs: ${step.verdict}.`;
  const { stranger, "look-alike": lookalike } = step.numFlagged;
  const plural = (num, one) => `${num.toLocaleString("en")} ${one}${num === 1 ? "" : "s"}`;
  const among = `among ${plural(step.num_pairs, "pair")} of ${plural(step.num_labels, "label")}`;
  if (!stranger && !lookalike) return `No pair is flagged ${among}.`;
  const shown = step.chosen ? " shown" : "";
  return `${plural(stranger, "stranger")} and ${plural(lookalike, "look-alike")}${shown} ${among}${furthest(step)}.`;
}

/** The pair furthest from what is usual, by name. */
function furthest(step) {
  const gaps = step.values.gap;
  const flagged_ = step.counted.filter((pair) => step.flag[pair]);
  const pair = flagged_.reduce((best, one) => (best < 0 || Math.abs(gaps[one]) > Math.abs(gaps[best]) ? one : best), -1);
  if (pair < 0) return "";
  const names = step.namesAt(pair).map((name) => `“${name}”`).join(" and ");
  return `; furthest off: ${names}, overlap ${number(step.values.overlap[pair])} where ${number(step.values.expected_overlap[pair])} is usual`;
}

function trust(step) {
  const { reliability } = step.scalars;
  const inputs = `${step.num_inputs.toLocaleString("en")} inputs`;
  if (reliability === null || reliability === undefined) return `From ${inputs}.`;
  const words = reliability >= 0.9 ? "other inputs would show about the same" : reliability >= 0.5 ? "other inputs would show much the same" : "other inputs would show something else: look at more";
  const bound = step.overlap_error > 0.0005 ? `, overlaps may be up to ${number(step.overlap_error)} larger` : "";
  return `From ${inputs}${bound}; reliability ${number(reliability)}: ${words}.`;
}
