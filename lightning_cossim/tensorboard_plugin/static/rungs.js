// What each rung is, in words: the explanations are one click away from every place that names a rung.

export const PAPER = "https://arxiv.org/abs/2603.29488";

/** What is said of a rung: under other links than a softmax of the rows' own logits, nothing is centered. */
export function textsOf(rung, link) {
  const { text, uncentered, of } = RUNGS[rung];
  if (!link || link === "softmax" || !uncentered) return text;
  return [...uncentered, ...(of?.[link] ? [of[link]] : [])];
}

export const RUNGS = {
  raw_cosine: {
    name: "Raw cosine",
    short: "raw cos",
    alike: 1,
    text: [
      "The cosine of the angle between two labels' rows in the final linear layer, from −1 to 1.",
      "A softmax gives the same probabilities for every input when one vector is added to all rows. That vector can be chosen so that the raw cosine of any pair becomes 1, or −1. It says nothing of what the model does.",
    ],
    uncentered: [
      "The cosine of the angle between two labels' rows in the final linear layer, from −1 to 1.",
      "Nothing is centered here, since the origin is not arbitrary. The expected overlap, and with it every gap, refers to this rung.",
    ],
    of: {
      sigmoid: "A sigmoid sees every logit by itself: one vector added to all rows changes probabilities.",
      softcap: "A soft cap bends every logit by itself before the softmax: one vector added to all rows changes probabilities.",
      cosine: "This head gives cosines times a scale: it sees directions from zero and no lengths, and one vector added to all rows changes probabilities.",
    },
  },
  centered_cosine: {
    name: "Label-centered cosine",
    short: "centered cos",
    alike: 1,
    text: [
      "The same after the mean row of all live labels has been subtracted: adding one vector to all rows changes it no more.",
      "It still takes every direction of the embeddings as equally common. The expected overlap, and with it every gap, refers to this rung.",
    ],
  },
  logit_correlation: {
    name: "Logit correlation",
    short: "logit corr",
    alike: 1,
    text: [
      "The correlation of the two centered logits over the inputs seen, from −1 to 1. In it the directions count that the embeddings really take.",
      "No invertible linear map between embeddings and rows can move it.",
    ],
    uncentered: ["The correlation of the two logits over the inputs seen, taken from zero, from −1 to 1. In it the directions count that the embeddings really take."],
    of: { softcap: "The logits are those before the cap.", cosine: "Rows and embeddings are taken at length 1, as the head does." },
  },
  log_odds_variance: {
    name: "Log-odds variance",
    short: "log-odds var",
    alike: -1,
    text: [
      "The variance over the inputs of log p(one)/p(other). Small means alike: whatever the input, the odds stay the same.",
      "It does not depend on which other labels exist.",
    ],
    uncentered: ["The variance over the inputs of the difference of the two logits. Small means alike."],
    of: {
      softcap: "The logits are those before the cap, so that it says less where the cap bends them.",
      cosine: "Of a cosine head that is the variance of log p(one)/p(other): whatever the input, the odds stay the same.",
    },
  },
  overlap: {
    name: "Probability overlap",
    short: "overlap",
    alike: 1,
    text: [
      "How far the two labels are probable for the same inputs, from 0 to 1: the Bhattacharyya coefficient of their probabilities over the inputs, unless the monitor was told otherwise.",
      "This is what the model does. The other rungs are held against it.",
    ],
  },
  expected_overlap: {
    name: "Expected overlap",
    short: "expected",
    alike: 1,
    text: ["What pairs of this cosine usually overlap: the best curve through all pairs that never falls."],
  },
  gap: {
    name: "Gap",
    short: "gap",
    alike: 1,
    text: [
      "Overlap minus expected overlap. Above the threshold the pair is a stranger: the model takes one for the other although their rows differ. Below it, a look-alike: their rows agree, and the model keeps them apart.",
    ],
  },
};
