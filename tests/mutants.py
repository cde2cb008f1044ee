"""Planted bugs, and the tests that must see them: `python -m tests.mutants`, or with the numbers of some.

Each mutant is a change to the source that a tired person could make. It is planted in a copy of the project in a temporary
folder; every test named beside it must turn red there. Without a change, all of them must be green in such a copy.

The place of a change is a function, a class, or a constant of a module or class, by its name: what is written elsewhere, or moves
within the file, is no business of it.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
COPIED: Final = ("lightning_cossim", "tests", "examples", "docs", "pyproject.toml", "README.md")
AT_A_TIME: Final = 2

GEOMETRY: Final = "tests/metrics/test_logit_geometry.py"
AGREEMENT: Final = "tests/functional/test_agreement.py"
BLOCKS: Final = "tests/functional/test_blocks.py"
COSINE: Final = "tests/functional/test_cosine.py"
CROSS_FIT: Final = "tests/functional/test_cross_fit.py"
FORMULAS_OF_LINKS: Final = "tests/functional/test_links.py"
OVERLAP: Final = "tests/functional/test_overlap.py"
PAIRS: Final = "tests/functional/test_pairs.py"
STRATIFIED: Final = "tests/functional/sampled/test_stratified.py"
LOG_ODDS: Final = "tests/functional/test_local_log_odds.py"
REACH: Final = "tests/functional/reachability/test_reachability.py"
COMBINATIONS: Final = "tests/functional/reachability/test_combinations.py"
COMBINED: Final = "tests/report/test_combinations.py"
METRICS: Final = "tests/metrics/test_metrics.py"
GAP: Final = "tests/metrics/test_similarity_gap.py"
CONFUSION: Final = "tests/functional/test_confusion.py"
ERRORS: Final = "tests/metrics/test_targets.py"
ALERTS: Final = "tests/report/test_alerts.py"
VERDICTS: Final = "tests/report/test_verdicts.py"
FINAL: Final = "tests/capture/test_final_output.py"
OBSERVER: Final = "tests/capture/test_observer.py"
FINAL_OUTPUT: Final = "tests/capture/test_final_output.py"
HEAD: Final = "tests/capture/test_head.py"
REPLACED: Final = "tests/callback/test_replaced_heads.py"
VOCABULARY: Final = "tests/capture/test_vocabulary.py"
ACTING: Final = "tests/callback/test_acting.py"
LINKS: Final = "tests/callback/test_links.py"
LENGTHS: Final = "tests/callback/test_fit_lengths.py"
TARGETS: Final = "tests/capture/test_counted_inputs.py"
MONITOR: Final = "tests/callback/test_monitor.py"
PROCESSES: Final = "tests/callback/test_processes.py"
RUNS: Final = "tests/callback/test_runs.py"
SESSION: Final = "tests/callback/test_session.py"
KEEPER: Final = "tests/capture/evidence/test_keeper.py"
EVIDENCE: Final = "tests/callback/test_evidence.py"


class PlantError(ValueError):
    """A change that has no place."""


@dataclass(frozen=True)
class Plant:
    """A text in the place of another, which stands exactly once in what has the name."""

    file: str
    """In the package."""
    name: str
    """Of a function, a class or a constant; what belongs to a class with its name before: `Overlap.finish`."""
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A planted bug, and the tests that must turn red."""

    bug: str
    plants: tuple[Plant, ...]
    red: tuple[str, ...]


def _mutant(bug: str, *plants: Plant, red: tuple[str, ...]) -> Mutant:
    return Mutant(bug, plants, red)


MUTANTS: Final = (
    # Final logits
    _mutant(
        "is content with any output that is the head's own",
        Plant("capture/final_output.py", "_finding", "_made_of_the_head(found) if same else None", "None"),
        red=(f"{FINAL}::test_final_logits_count_though_the_heads_own_stand_beside_them",),
    ),
    _mutant(
        "warns of another head's logits",
        Plant("capture/final_output.py", "_made_of_the_head", "if final.change.is_known:", "if final.change:"),
        red=(f"{FINAL}::test_logits_of_another_head_say_nothing",),
    ),
    _mutant(
        "finds the labels that are dropped only where nothing is flattened",
        Plant(
            "capture/final_output.py",
            "keeps_first",
            "tensor.shape[:-1].numel() != output.shape[:-1].numel()",
            "tensor.shape[:-1] != output.shape[:-1]",
        ),
        red=(f"{FINAL}::test_a_padded_vocabulary_is_noticed_in_any_arrangement",),
    ),
    # The formulas of functional
    _mutant(
        "centers over the wrong axis",
        Plant("functional/centering.py", "Origin.center", "- self.mean", "- rows.mean(dim=-1, keepdim=True)"),
        red=("tests/functional/test_centering.py::test_center_labels_subtracts_the_mean_row",),
    ),
    _mutant(
        "centers in the dtype of the weights",
        Plant(
            "functional/centering.py",
            "Origin.center",
            "rows.detach().to(self.mean) - self.mean",
            "(rows.detach() - self.mean.to(rows.dtype)).to(self.mean)",
        ),
        red=(f"{COSINE}::test_a_large_common_mode_costs_no_digits",),
    ),
    _mutant(
        "leaves out the normalization of the overlap",
        Plant("functional/overlap.py", "Overlap.overlap_of", "joint / own.sqrt() / others_own.sqrt()", "joint / joint.max()"),
        red=(f"{OVERLAP}::test_every_profile_is_normalized_by_its_own_mass",),
    ),
    _mutant(
        "leaves out the products off the diagonal",
        Plant(
            "functional/overlap.py",
            "_add_triangle",
            "_add_product(total[first, rest], profiles[:, first], profiles[:, rest])",
            "pass",
        ),
        red=(f"{OVERLAP}::test_sums_of_many_labels_are_those_of_the_whole_product",),
    ),
    _mutant(
        "counts in float32",
        Plant(
            "functional/overlap.py",
            "Overlap.joint_dtype",
            "torch.int64 if self.counts_inputs else torch.float32",
            "torch.float32",
        ),
        red=(f"{OVERLAP}::TestKinds::test_counts_do_not_stall",),
    ),
    _mutant(
        "multiplies embeddings in float32 as large as they are",
        Plant(
            "functional/logit_geometry.py",
            "spread_of",
            "largest(f_ND.flatten()) if len(f_ND) else f_ND.new_zeros(())",
            "torch.ones(())",
        ),
        red=("tests/metrics/test_hostile_tensors.py::test_what_is_left_is_right",),
    ),
    _mutant(
        "reports the plain instead of the adjusted R²",
        Plant("functional/comparison.py", "Comparison.explained", "(num_pairs - 1) / (num_pairs - num_levels)", "1.0"),
        red=(f"{AGREEMENT}::test_all_three_are_those_of_the_formulas",),
    ),
    _mutant(
        "holds a pair against a fit that it is part of",
        Plant("functional/comparison.py", "Comparison._cross_fit", "folds(self.pairs)", "None"),
        red=(
            f"{CROSS_FIT}::test_an_odd_pair_keeps_its_gap_whatever_its_rank",
            f"{CROSS_FIT}::test_more_are_left_out_by_tenths",
            "tests/report/test_gap_report.py::test_scalars_are_those_of_the_theory",
        ),
    ),
    _mutant(
        "goes on into another fit where a pair at the lowest similarity is left out",
        Plant("functional/cross_fit.py", "_interpolated", "np.maximum(last_Q, bounds[fold_Q])", "last_Q"),
        red=(f"{CROSS_FIT}::test_an_odd_pair_keeps_its_gap_whatever_its_rank",),
    ),
    _mutant(
        "leaves out the ties of a pair with it",
        Plant("functional/cross_fit.py", "cross_fitted", "weight_FM > 0.5", "weight_FM == np.tile(weight_M, num)"),
        red=(f"{CROSS_FIT}::test_a_tie_stays_when_its_like_is_left_out",),
    ),
    _mutant(
        "leaves out together what has nearby places among the labels looked at, whatever their rows",
        Plant("report/statistics.py", "Statistics.of", "table.compared_rows", "table.compared"),
        red=("tests/report/test_gap_report.py::test_rows_of_the_head_decide_which_pairs_are_left_out_together",),
    ),
    _mutant(
        "does not step the agreement of two halves up to that of the whole",
        Plant("functional/comparison.py", "stepped_up_reliability", "2 * rho / (1 + rho)", "rho"),
        red=("tests/functional/test_retrieval.py::TestReliability::test_is_the_stepped_up_correlation_of_the_halves",),
    ),
    _mutant(
        "gives inputs to the blocks by turns",
        Plant(
            "functional/blocks.py",
            "BlockAssignment.assign",
            "self._orders[(index // NUM_BLOCKS) % _NUM_ORDERS, index % NUM_BLOCKS]",
            "index % NUM_BLOCKS",
        ),
        red=(f"{BLOCKS}::test_the_order_changes_from_eight_to_eight",),
    ),
    _mutant(
        "begins with the same block in every batch",
        Plant("functional/blocks.py", "BlockAssignment.assign", " + int(start)", ""),
        red=(
            f"{BLOCKS}::test_every_eight_units_fill_every_block_once",
            f"{PROCESSES}::test_blocks_are_those_that_each_process_filled",
        ),
    ),
    _mutant(
        "takes the error of a number without one block for that of the whole",
        Plant("functional/blocks.py", "jackknife", ".mean(dim=0).sqrt_()", ".sum(dim=0).div(num_blocks - 1).sqrt()"),
        red=(
            f"{BLOCKS}::test_the_error_of_a_mean_is_that_of_the_textbook",
            f"{BLOCKS}::test_equal_blocks_follow_the_formula_of_the_theory",
            "tests/report/test_errors.py::test_errors_are_those_of_leaving_out_each_block",
        ),
    ),
    _mutant(
        "takes the jackknife's error of an overlap that is below the expected one",
        Plant("functional/replicates.py", "Replicates.overlap_error", "if expected is not None:", "if False:"),
        red=("tests/report/test_errors.py::test_an_overlap_below_the_expected_one_has_the_error_of_the_expected_one",),
    ),
    _mutant(
        "takes the error of a sum of few contributions without one more",
        Plant("functional/replicates.py", "Replicates._contribution", "if self.unit is None:", "if True:"),
        red=(
            "tests/report/test_errors.py::test_a_sum_of_few_contributions_has_the_error_of_one_more",
            "tests/report/test_errors.py::test_one_contribution_more_is_that_of_the_median_pair",
        ),
    ),
    _mutant(
        "calls a label likely from a probability of .1 on, however likely the others are",
        Plant("functional/joint.py", "likely_labels", 'most_N if link != "sigmoid" else ', ""),
        red=("tests/functional/test_joint.py::test_a_share_not_a_probability_is_what_counts",),
    ),
    _mutant(
        "takes a large log-odds variance for a large likeness",
        Plant("functional/similarities.py", "SIMILARITIES", "direction=-1", "direction=1"),
        red=("tests/report/test_gap_report.py::test_scalars_are_those_of_the_theory",),
    ),
    _mutant(
        "says that a translation leaves the raw cosine unchanged",
        Plant(
            "functional/similarities.py",
            "SIMILARITIES",
            'ALWAYS_UNSEEN | {"row_scale"',
            'ALWAYS_UNSEEN | {"translation", "row_scale"',
        ),
        red=("tests/metrics/test_invariances.py::test_what_a_metric_names_leaves_it_unchanged",),
    ),
    _mutant(
        "centers the logits of a sigmoid head",
        Plant(
            "functional/similarities.py", "HeadRows.aligned", "self.centered if self.is_centered else self.rows", "self.centered"
        ),
        red=(f"{GAP}::test_nothing_is_centered_under_a_sigmoid",),
    ),
    _mutant(
        "takes the embeddings of a cosine head as they are",
        Plant(
            "functional/links.py", "Response.inputs", 'unit_rows(embedding) if self.link == "cosine" else embedding', "embedding"
        ),
        red=(f"{FORMULAS_OF_LINKS}::test_logits_are_those_of_the_formula",),
    ),
    _mutant(
        "leaves the scale out of the log-odds of a cosine head",
        Plant("functional/links.py", "Response.rows", ".mul_(scale if math.isfinite(scale) else 1.0)", ""),
        red=(f"{FORMULAS_OF_LINKS}::test_a_cosine_head_is_linear_in_what_its_link_sees",),
    ),
    _mutant(
        "finds neighbors in one direction",
        Plant(
            "functional/neighbors.py",
            "_Nearest._take",
            "self._offer(column_C + other.start, row_C + chunk.start, cosine_C)",
            "pass",
        ),
        red=("tests/functional/test_neighbors.py::test_they_are_those_of_the_whole_matrix",),
    ),
    _mutant(
        "bounds what was left out by the inputs that kept neither label",
        Plant("functional/sampled/sparse_overlap.py", "SparseOverlap._left_out", "both_P + without_i_P + without_j_P", "both_P"),
        red=(f"{VOCABULARY}::test_overlaps_of_a_few_labels_an_input_are_too_small_by_no_more_than_is_said",),
    ),
    _mutant(
        "forgets that a pair had to be a candidate first",
        Plant(
            "functional/sampled/stratified.py", "stratified_pairs", "1 / probability_C[stays_C]", "(q_C / probability_C)[stays_C]"
        ),
        red=(f"{STRATIFIED}::test_weights_add_up_to_one_for_every_pair_over_draws_of_two_phases",),
    ),
    _mutant(
        "leaves the pairs that do not overlap most without a chance",
        Plant(
            "functional/sampled/stratified.py",
            "stratified_pairs",
            "torch.cat([known_keys, even_keys]).sort()",
            "known_keys.sort()",
        ),
        red=(f"{STRATIFIED}::test_weights_add_up_to_one_for_every_pair_over_draws_of_two_phases",),
    ),
    _mutant(
        "draws by overlap alone",
        Plant("functional/sampled/stratified.py", "stratified_pairs", "sizes.by_similarity[key]", "0"),
        red=(
            f"{STRATIFIED}::test_every_pair_is_drawn_as_often_as_its_weight_says",
            f"{VOCABULARY}::test_the_pairs_most_alike_by_every_similarity_have_a_good_chance",
        ),
    ),
    _mutant(
        "counts every pair of a sample once in a mean",
        Plant("functional/comparison.py", "mean_over_pairs", "(some.weight * v_P).sum() / some.weight.sum()", "v_P.mean()"),
        red=(f"{PAIRS}::test_statistics_of_a_sample_are_those_of_all_that_it_stands_for",),
    ),
    _mutant(
        "counts every pair of a sample once in the error of a rank agreement",
        Plant(
            "functional/comparison.py", "_influence_on_rho_a", "_sum_above(r_level_P, w_P * b_P)", "_sum_above(r_level_P, b_P)"
        ),
        red=(f"{PAIRS}::test_errors_are_those_of_the_change_per_unit_of_weight",),
    ),
    _mutant(
        "gives pairs that are there for certain an error",
        Plant("functional/pairs.py", "Pairs.sampling_error", "(self.weight - 1)", "self.weight"),
        red=(f"{PAIRS}::test_a_sample_with_nothing_left_to_chance_has_no_error",),
    ),
    _mutant(
        "takes the fit to a sample for the fit to all pairs",
        Plant("functional/comparison.py", "Comparison.explained", "unexplained += CHOSEN_BY_THE_SAME", "unexplained += 0"),
        red=(f"{PAIRS}::test_the_share_explained_by_a_sample_is_an_estimate_of_that_of_all_pairs",),
    ),
    _mutant(
        "compares labels of a vocabulary that are hardly ever likely",
        Plant("report/pair_table.py", "kept_labels", "min_total / num_inputs", "0.0"),
        red=(f"{VOCABULARY}::test_labels_whose_probabilities_sum_to_less_than_five_do_not_count",),
    ),
    _mutant(
        "forgets the cap where a vocabulary's overlaps come from embeddings",
        Plant(
            "functional/sampled/pair_overlap.py",
            "sums_of_pairs",
            "response.logits(f_BD, W_LD, b_L)",
            "nn.functional.linear(f_BD, W_LD, b_L)",
        ),
        red=(f"{LINKS}::test_a_vocabulary_says_what_all_pairs_say",),
    ),
    _mutant(
        "swaps the target of an input and its most likely label",
        Plant(
            "functional/confusion.py",
            "add_confusion",
            "target.clamp(min=0) * len(total) + predicted.clamp(min=0)",
            "predicted.clamp(min=0) * len(total) + target.clamp(min=0)",
        ),
        red=(
            f"{CONFUSION}::test_three_inputs_by_hand",
            f"{ERRORS}::test_errors_and_shares_are_those_of_the_inputs",
        ),
    ),
    _mutant(
        "swaps them in vocabularies",
        Plant(
            "functional/sampled/sparse_confusion.py",
            "sparse_confusion",
            "target_N * num_labels + predicted_N",
            "predicted_N * num_labels + target_N",
        ),
        red=(
            f"{CONFUSION}::test_chosen_pairs_have_what_all_pairs_have",
            f"{VOCABULARY}::test_errors_and_shares_are_those_of_all_pairs",
        ),
    ),
    _mutant(
        "counts joint mass on inputs of either label once more for neither",
        Plant("functional/confusion.py", "Confusion.of", "(joint.double() - one_P - other_P).clamp(min=0)", "joint.double()"),
        red=(f"{CONFUSION}::test_three_inputs_by_hand", f"{ERRORS}::test_batches_and_groups_add_up"),
    ),
    _mutant(
        "takes joint mass without a target for mass on inputs of label 0",
        Plant("functional/confusion.py", "add_products_by_target", ".masked_fill(target_B[:, None] < 0, 0)", ""),
        red=(f"{ERRORS}::test_batches_and_groups_add_up",),
    ),
    # The overlap that is proven
    _mutant(
        "takes the log-odds of probabilities for those of profiles",
        Plant(
            "functional/local_log_odds.py", "LogOddsSums.finish", "self.probs.log()[:, None] - self.probs.log()", "self.logs * 0"
        ),
        red=(f"{LOG_ODDS}::test_it_is_the_mean_squared_log_odds_of_the_mixture", f"{LOG_ODDS}::test_by_hand"),
    ),
    _mutant(
        "takes a probability of zero for no evidence",
        Plant("functional/local_log_odds.py", "log_odds_sums", "= torch.inf", "+= 0"),
        red=(f"{LOG_ODDS}::test_a_probability_of_zero_proves_nothing_unless_both_are_zero",),
    ),
    _mutant(
        "lets small probabilities underflow before their logarithms",
        Plant(
            "metrics/local_log_odds.py", "LocalLogOdds.update", "logits.to(working_dtype(logits))", "logits.float().exp().log()"
        ),
        red=(f"{LOG_ODDS}::test_logits_of_a_saturated_model_do_not_make_it_infinite",),
    ),
    # The proofs of reachability
    _mutant(
        "takes one label of a pair on top for both",
        Plant("functional/reachability/rankings.py", "Rankings.margins", ".amin(dim=1)", ".amax(dim=1)"),
        red=(f"{REACH}::test_answers_are_those_of_other_methods",),
    ),
    _mutant(
        "proves with a mixture that has less bias",
        Plant(
            "functional/reachability/certificates.py",
            "_proven",
            "-behind_PS.sum(dim=1) <= RESIDUAL * behind_PS.abs().sum(dim=1)",
            "True",
        ),
        Plant("functional/reachability/interior_point.py", "InteriorPoint.mixtures", ".clamp(max=0)", ""),
        red=(f"{REACH}::test_answers_are_those_of_other_methods",),
    ),
    _mutant(
        "takes a neighbor within rounding for a proof",
        Plant(
            "functional/reachability/certificates.py",
            "_proven",
            "RESIDUAL * reach_P.clamp(max=1)",
            "reach_P.new_tensor(RESIDUAL)",
        ),
        red=(f"{REACH}::test_what_is_beyond_float64_is_undecided",),
    ),
    _mutant(
        "holds biases against the largest of all, beside which they look alike",
        Plant(
            "functional/reachability/certificates.py",
            "_proven",
            "RESIDUAL * behind_PS.abs().sum(dim=1)",
            "RESIDUAL * head.spread",
        ),
        red=(f"{REACH}::test_a_bias_that_rules_labels_out_makes_no_false_no",),
    ),
    # Combinations of a sigmoid head
    _mutant(
        "lets a label that is to be off have any logit",
        Plant("functional/reachability/patterns.py", "Patterns.margins", "signs_BK == 0", "signs_BK <= 0"),
        red=(f"{COMBINATIONS}::test_verdicts_are_those_of_the_arrangement_of_lines",),
    ),
    _mutant(
        "proves with rows alone that a bias overcomes",
        Plant(
            "functional/reachability/patterns.py",
            "Patterns.proof",
            "float(parts_S.sum()) <= RESIDUAL * float(parts_S.abs().sum())",
            "True",
        ),
        red=(f"{COMBINATIONS}::test_rows_prove_nothing_that_a_bias_overcomes",),
    ),
    _mutant(
        "takes a proof for that of every pattern with its labels",
        Plant(
            "functional/reachability/patterns.py",
            "Patterns.shared",
            "== proof.weights.sign().to(torch.int8)",
            "!= 0",
        ),
        red=(f"{COMBINATIONS}::test_a_proof_holds_for_patterns_that_ask_for_the_same_signs_alone",),
    ),
    _mutant(
        "centers the rows of a sigmoid head",
        Plant("functional/reachability/combinations.py", "combination_reachability", "centered=False", "centered=True"),
        red=(f"{COMBINATIONS}::test_verdicts_are_those_of_the_arrangement_of_lines",),
    ),
    _mutant(
        "asks for labels alone, whatever the others are",
        Plant("report/combinations.py", "_verdicts", "kept_K.cpu() & ~on_QK", "on_QK & ~on_QK"),
        red=(f"{COMBINED}::test_labels_and_pairs_are_those_of_the_arrangement_of_lines",),
    ),
    _mutant(
        "checks observed combinations against the inputs that show them",
        Plant("report/combinations.py", "find_combinations", "observed_QK, kept_K, None,", "observed_QK, kept_K, embedding,"),
        red=(f"{COMBINED}::test_every_observed_combination_is_possible",),
    ),
    # What metrics keep
    _mutant(
        "sums the last weight in `forward`",
        Plant("metrics/logit_geometry.py", "EmbeddingGeometry.full_state_update", "True", "False"),
        Plant(
            "metrics/logit_geometry.py",
            "EmbeddingGeometry.__init__",
            "unseen(num_labels, embedding_dim), dist_reduce_fx=first_seen",
            'torch.zeros(num_labels, embedding_dim), dist_reduce_fx="sum"',
        ),
        red=(f"{METRICS}::test_last_unembedding_wins", f"{METRICS}::test_forward_gives_the_batch_and_accumulates_the_same"),
    ),
    _mutant(
        "keeps the live weight instead of a snapshot",
        Plant("metrics/snapshot.py", "taken", ", copy=True", ""),
        red=(f"{METRICS}::test_snapshot_does_not_follow_the_weights",),
    ),
    _mutant(
        "takes the snapshot of the first process, seen or not",
        Plant("metrics/snapshot.py", "first_seen", "seen_P.int().argmax()", "0"),
        red=(f"{METRICS}::test_snapshot_comes_from_a_process_that_has_one",),
    ),
    _mutant(
        "shifts the moments by the first batch",
        Plant(
            "metrics/logit_geometry.py",
            "EmbeddingGeometry._moments_of",
            "embedding_moments(f_BD,",
            "embedding_moments(f_BD - self.__dict__.setdefault('shift', f_BD.detach().mean(dim=0)),",
        ),
        red=(f"{METRICS}::test_merged_states_of_two_processes_give_the_whole",),
    ),
    _mutant(
        "sums the logits of all batches at the weights of the first",
        Plant(
            "metrics/logit_geometry.py",
            "EmbeddingGeometry._moments_of",
            "split_rows(unembedding, self.counted)",
            "self.__dict__.setdefault('first', split_rows(unembedding, self.counted))",
        ),
        red=(f"{GEOMETRY}::test_in_training_rungs_are_those_of_the_logits_seen_where_labels_are_few",),
    ),
    _mutant(
        "keeps the block that is to be left out",
        Plant("metrics/logit_geometry.py", "BlockMoments.covariance", "block != left_out", "block == left_out"),
        red=(f"{GEOMETRY}::test_without_a_block_is_as_if_its_inputs_had_not_been_seen",),
    ),
    _mutant(
        "lets a cast of the model narrow the sums",
        Plant("metrics/state.py", "SummedMetric._apply", "[*exclude_state, *self._defaults]", "list(exclude_state)"),
        red=("tests/metrics/test_state.py::test_a_cast_of_the_model_around_it_changes_no_state",),
    ),
    _mutant(
        "takes metrics of other settings for one another",
        Plant("metrics/state.py", "SummedMetric.add_settings", "owner.__qualname__, *settings", "owner.__qualname__"),
        red=(
            "tests/metrics/test_collection.py::test_values_together_are_values_alone",
            "tests/metrics/test_collection.py::test_equal_settings_share_their_states_and_no_others_do",
        ),
    ),
    _mutant(
        "takes resampled labels for the head's",
        Plant("metrics/snapshot.py", "_CUTS", "BootStrapper.update.__code__: _RESAMPLES,", ""),
        red=("tests/metrics/test_wrappers.py::test_a_bootstrapper_is_refused_by_name",),
    ),
    _mutant(
        "lets TorchScript compile the properties of metrics",
        Plant("metrics/state.py", "SummedMetric.__init_subclass__", "if not hasattr(Metric, name)", "if False"),
        red=("tests/metrics/test_export.py::test_scripted",),
    ),
    _mutant(
        "brings states together in another way than compute does",
        Plant("metrics/state.py", "SummedMetric.sync", "dist_sync_fn or self.dist_sync_fn", "dist_sync_fn"),
        red=("tests/metrics/test_state.py::test_states_are_brought_together_as_the_metric_was_built_to",),
    ),
    # The verdicts and alerts of reports
    _mutant(
        "takes the reverse order of the cosines for a larger gap than no common order",
        Plant("report/statistics.py", "Statistics.of", "behavior.value.clamp(0, 1)", "behavior.value"),
        red=("tests/report/test_gap_report.py::test_a_behavior_gap_lies_between_0_and_1",),
    ),
    _mutant(
        "measures the behavior gap by the share explained",
        Plant("report/statistics.py", "Statistics.of", "agreement[ladder.cosine]", "compared[ladder.cosine].explained"),
        red=("tests/report/test_gap_report.py::test_scalars_are_those_of_the_theory",),
    ),
    _mutant(
        "speaks of reports in a row that nobody has seen",
        Plant(
            "report/alerts.py",
            "in_words",
            'f", for {breach.in_a_row} reports in a row" if breach.in_a_row > 1',
            'f", for {alert.patience} reports in a row" if alert.patience > 1',
        ),
        red=(
            f"{ALERTS}::test_one_report_is_no_series",
            "tests/analysis/test_analyze.py::test_a_check_speaks_of_the_one_report_that_it_saw",
        ),
    ),
    _mutant(
        "flags a gap whatever its error",
        Plant("report/verdicts.py", "_sure_size", " - _ONE_SIDED * statistics.overlap_error", ""),
        red=(f"{VERDICTS}::test_a_gap_within_its_error_is_not_flagged",),
    ),
    _mutant(
        "takes the lowest cosines for the highest",
        Plant("report/verdicts.py", "_why_barred", "statistics.cosine_percentile", "1 - statistics.cosine_percentile"),
        red=(
            f"{VERDICTS}::test_a_pair_with_one_of_the_highest_cosines_is_no_stranger",
            f"{VERDICTS}::test_a_look_alike_is_flagged_in_the_upper_half_the_top_included",
        ),
    ),
    _mutant(
        "flags look-alikes that may be none",
        Plant("report/verdicts.py", "_margin", "- may_be_larger_P", ""),
        red=(f"{VOCABULARY}::test_a_look_alike_is_one_only_if_it_is_in_any_case",),
    ),
    _mutant(
        "lets alerts see a report without a verdict",
        Plant("report/alerts.py", "alert_values", "verdict.why_none is not None", "False"),
        red=(f"{ALERTS}::test_without_a_verdict_no_alert_sees_anything",),
    ),
    _mutant(
        "takes a report that was judged by other thresholds for judged",
        Plant("report/alerts.py", "evaluate", "report.verdict.thresholds == thresholds", "report.verdict.thresholds is not None"),
        red=(f"{ALERTS}::test_a_report_is_judged_once",),
    ),
    _mutant(
        "takes an undefined value for a recovery",
        Plant("report/alerts.py", "AlertCounter.observe", "math.isnan(value)", "False"),
        red=(
            f"{ALERTS}::test_an_alert_acts_when_its_patience_ends",
            f"{ALERTS}::test_a_report_without_a_verdict_keeps_the_count",
        ),
    ),
    _mutant(
        "counts breaches that are not in a row",
        Plant("report/alerts.py", "AlertCounter.observe", "else 0", "else self.counts[number]"),
        red=(f"{ALERTS}::test_an_alert_acts_when_its_patience_ends",),
    ),
    _mutant(
        "counts the breaches of all loaders together",
        Plant("report/alerts.py", "AlertBook.observe", "setdefault(window,", "setdefault(WindowKey(window.stage),"),
        red=(f"{ALERTS}::test_every_window_is_counted_by_itself",),
    ),
    _mutant(
        "goes on past an alert that stopped the run",
        Plant("report/alerts.py", "AlertCounter.restore", "min(count, alert.patience - 1)", "count"),
        red=(f"{ACTING}::test_a_fit_that_was_stopped_stops_again_after_a_resume",),
    ),
    # What a capture sees, and what processes add up
    _mutant(
        "samples with the user's random numbers",
        Plant(
            "capture/sampling.py", "sample_rows", "torch.randperm(len(index), generator=generator)", "torch.randperm(len(index))"
        ),
        red=(f"{OBSERVER}::test_samples_come_from_the_generator_given_and_leave_the_global_one_alone",),
    ),
    _mutant(
        "counts positions that have no target",
        Plant("capture/collector.py", "Collector.look", "self._counted, weights", "None, weights"),
        red=(f"{RUNS}::test_positions_of_sequences_are_inputs_and_padding_is_not",),
    ),
    _mutant(
        "counts a position by the target before it",
        Plant("capture/targets.py", "CountedTargets._by_position", "values[:, 1:], (0, 1)", "values[:, :-1], (1, 0)"),
        red=(f"{TARGETS}::test_a_position_counts_by_the_next_target_or_by_its_own",),
    ),
    _mutant(
        "shifts targets that were shifted already",
        Plant("capture/target_shift.py", "Comparison.verdict", "None if is_same == is_next else is_same", "is_same or is_next"),
        red=(f"{TARGETS}::test_whose_target_it_is_is_found_out_and_said",),
    ),
    _mutant(
        "takes an encoder-decoder for a causal language model",
        Plant("capture/target_shift.py", "shift_of", "return False, type(part).__name__", "break"),
        red=(f"{TARGETS}::test_an_encoder_decoder_around_a_causal_decoder_tells",),
    ),
    _mutant(
        "takes the first positions where the last were kept",
        Plant("capture/targets.py", "CountedTargets._part", "by_position[:, start : start + num]", "by_position[:, :num]"),
        red=(f"{TARGETS}::test_positions_that_are_fewer_or_more_than_targets_are_told_apart",),
    ),
    _mutant(
        "looks at a parametrized weight in training",
        Plant("capture/layers.py", "_evaluating", "module.modules()", "()"),
        red=(f"{RUNS}::test_training_is_bit_identical",),
    ),
    _mutant(
        "takes logits that were changed after the head for its own",
        Plant("capture/consistency.py", "Consistency._mismatch", "agree(weights, f_ND, z_NK, in_half=in_half)", "True"),
        red=(f"{OBSERVER}::test_an_output_that_the_weights_do_not_explain_is_told_once",),
    ),
    _mutant(
        "takes a cosine head's logits of training, margins and all",
        Plant("capture/consistency.py", "Consistency._read_cosines", "logits_NK, f_ND", "z_NK, f_ND"),
        Plant(
            "capture/observer.py",
            "HeadObserver._logits_in",
            "None if has_all and self.head.module.training and not is_linear(self.head.module) else output",
            "output",
        ),
        red=(f"{LINKS}::test_a_training_window_has_no_margins_in_it",),
    ),
    _mutant(
        "gives a position of a causal model its own target",
        Plant(
            "capture/targets.py",
            "CountedTargets._by_position",
            "if not self.is_shifted or values.ndim != 2:",
            "if values.dtype.is_signed:",
        ),
        red=(f"{TARGETS}::test_a_position_of_a_causal_model_has_the_next_one_s_target",),
    ),
    _mutant(
        "gives the inputs of a sample the targets of the first ones",
        Plant("capture/observer.py", "HeadObserver.take", "labels[index.to(labels.device)]", "labels[: len(index)]"),
        red=(f"{OBSERVER}::test_targets_are_taken_as_their_inputs_are",),
    ),
    _mutant(
        "reads targets in an order that is not that of the inputs",
        Plant("capture/targets.py", "_is_same_order", "return fine <= coarse or coarse <= fine", "return True"),
        red=(f"{TARGETS}::test_an_input_has_the_target_that_stands_where_it_does",),
    ),
    # Never another model's numbers
    _mutant(
        "believes that the head's logits are the model's",
        Plant("capture/final_output.py", "difference", "if found.change is None", "if True"),
        red=(f"{FINAL_OUTPUT}::test_pooled_logits_are_named",),
    ),
    _mutant(
        "takes a module's output that had nothing to do with the head",
        Plant("capture/enclosing.py", "_Passage._leave", "call is before or call is self._recorded", "call is self._recorded"),
        red=(f"{FINAL_OUTPUT}::test_a_module_that_was_called_for_something_else_does_not_count",),
    ),
    _mutant(
        "compares an output that was written into later",
        Plant("capture/enclosing.py", "_Passage.outputs", "num_writes(tensor) == writes", "writes >= 0"),
        red=(f"{FINAL_OUTPUT}::test_what_is_done_to_an_output_after_the_model_gave_it_is_not_the_models",),
    ),
    _mutant(
        "sees a cap only once it bends something",
        Plant("capture/logit_changes.py", "cap_in_settings", "4 * _largest(y - capped)", "1e-3 + _largest(y - capped)"),
        red=(f"{FINAL_OUTPUT}::test_a_cap_of_the_configuration_shows_long_before_it_bends_anything",),
    ),
    _mutant(
        "drops final logits whose embeddings do not pair",
        Plant("capture/observer.py", "HeadObserver.take", "(odd is not None or self._logits is None)", "True"),
        red=(f"{FINAL_OUTPUT}::test_final_logits_are_read_where_they_do_not_pair_with_embeddings",),
    ),
    _mutant(
        "watches a frozen teacher that names itself",
        Plant("capture/find.py", "_own", "is_frozen(part) and rivals", "False"),
        Plant("capture/find.py", "_without_frozen", "is_frozen(module) and (has_trained", "False and (has_trained"),
        red=(f"{HEAD}::test_the_users_own_head_is_found_and_the_others_are_named",),
    ),
    _mutant(
        "believes a backbone that names a layer whatever follows",
        Plant("capture/find.py", "_own", "named.keys() - followed", "named.keys()"),
        red=(f"{HEAD}::test_the_users_own_head_is_found_and_the_others_are_named",),
    ),
    _mutant(
        "reports on a head that is the model's no more",
        Plant("callback/session.py", "Session.open", "not self.collector.is_current", "False"),
        red=(f"{REPLACED}::test_the_new_head_is_watched_from_the_next_window_on",),
    ),
    _mutant(
        "gathers nothing from other processes",
        Plant("capture/window.py", "AllPairsWindow.close", "processes.sums([*states.values()])", "[*states.values()]"),
        red=(f"{PROCESSES}::test_a_watched_head_gives_every_process_the_report_of_one[two, one without any-9]",),
    ),
    _mutant(
        "takes the first process's weights, whatever it saw",
        Plant("capture/window.py", "AllPairsWindow.close", "seen_by[0] if seen_by else 0", "0"),
        red=(f"{PROCESSES}::test_the_weights_reported_on_are_those_of_the_inputs[two, one without any-9]",),
    ),
    _mutant(
        "lets every process go by its own numbers",
        Plant(
            "capture/collector.py", "agreed", "statistics.with_numbers(processes.from_first(statistics.numbers))", "statistics"
        ),
        red=(f"{PROCESSES}::test_processes_that_see_different_things_end_together[two, one without any-stop]",),
    ),
    _mutant(
        "goes on where another process has failed",
        Plant("capture/distributed.py", "Processes.together", "if ranks", "if failure is not None"),
        red=(f"{SESSION}::test_work_that_fails_on_one_process_fails_on_all",),
    ),
    # The manners of the callback
    _mutant(
        "ends at once while others wait",
        Plant("callback/session.py", "Session.alone", "self.processes.num == 1", "True"),
        red=(f"{SESSION}::test_a_failure_is_kept_until_all_can_hear_of_it",),
    ),
    _mutant(
        "looks for neighbors on every process",
        Plant("callback/deferred.py", "Deferred._among_neighbors", "seconds <= _MOST_SECONDS", "False"),
        red=(f"{PROCESSES}::test_what_takes_long_is_worked_out_by_the_first_and_all_have_its_reports[two, one without any]",),
    ),
    _mutant(
        "detaches only where all went well",
        Plant("callback/monitor.py", "LabelSimilarityMonitor.on_exception", "self._detach()", "pass"),
        red=(f"{MONITOR}::TestTouchesNothing::test_nothing_is_left_after_an_exception_in_the_users_step",),
    ),
    _mutant(
        "counts the sanity check",
        Plant("callback/monitor.py", "LabelSimilarityMonitor._reports_on", " and not trainer.sanity_checking", ""),
        red=(f"{MONITOR}::TestReports::test_nothing_comes_from_the_sanity_check",),
    ),
    _mutant(
        "logs at the trainer's global step",
        Plant("callback/monitor.py", "LabelSimilarityMonitor._report_on", "self._steps.step", "trainer.global_step"),
        red=(f"{MONITOR}::TestScalars::test_steps_are_those_of_the_users_own_curves",),
    ),
    _mutant(
        "leaves watched keys out when it is switched off",
        Plant("callback/monitor.py", "LabelSimilarityMonitor.on_validation_epoch_end", "self._session is None", "False"),
        red=(f"{MONITOR}::TestTouchesNothing::test_keys_that_others_watch_stay_when_the_monitor_is_switched_off",),
    ),
    _mutant(
        "takes an alert that raises for a fault of its own",
        Plant("callback/monitor.py", "_harmless", "except AlertError", "except ZeroDivisionError"),
        red=(f"{ACTING}::test_the_fit_ends_at_the_step_that_the_series_says",),
    ),
    _mutant(
        "compares every batch of a fit",
        Plant("callback/schedule.py", "WindowClock.start_batch", "self.batches_left > 0", "True"),
        red=("tests/callback/test_schedule.py::test_windows_of_a_fit",),
    ),
    _mutant(
        "plans the end of a fit at its start",
        Plant("callback/fit_length.py", "FitEnd.batches_left", "said != self._said", "self._said is None"),
        red=(
            f"{LENGTHS}::test_reports_come_every_so_many_steps_and_the_last_with_the_fit[one that shrinks]",
            f"{LENGTHS}::test_reports_come_every_so_many_steps_and_the_last_with_the_fit[max_epochs lowered]",
        ),
    ),
    _mutant(
        "waits for a last window that has been",
        Plant("callback/schedule.py", "WindowClock._opens", "left == self._last_length:", "False:"),
        red=("tests/callback/test_schedule.py::test_a_fit_that_goes_on_after_its_last_window_has_another_if_there_is_room",),
    ),
    _mutant(
        "forgets a window that is open at the end of a fit",
        Plant("callback/monitor.py", "LabelSimilarityMonitor._close_early", "self._clock.batches_left and", "False and"),
        red=(f"{LENGTHS}::test_a_window_that_an_early_stop_cuts_short_is_reported",),
    ),
    _mutant(
        "one of several processes goes by what it alone knows",
        Plant("callback/monitor.py", "LabelSimilarityMonitor.on_train_start", "session.processes.num == 1", "True"),
        red=(f"{PROCESSES}::test_a_fit_that_ends_early_ends_with_a_report_on_all_processes[two]",),
    ),
    _mutant(
        "leaves the reports in the processes of the run",
        Plant("callback/monitor.py", "LabelSimilarityMonitor._take_over", "self._queue.last.update(reports)", "pass"),
        red=("tests/callback/test_other_process.py::test_reports_and_head_come_back_to_the_caller",),
    ),
    _mutant(
        "goes by attributes that no longer fit the weight",
        Plant("capture/layers.py", "own_shape", "if is_whole and not", "if False and not"),
        red=("tests/capture/test_head.py::test_the_weight_tells_its_size",),
    ),
    # Loggers
    _mutant(
        "calls loggers by position",
        Plant("loggers/publisher.py", "log_scalars", "metrics=defined, step=step", "defined, step"),
        red=("tests/loggers/test_scalars.py::test_loggers_are_called_by_keyword_as_lightning_calls_them",),
    ),
    _mutant(
        "takes what a mocked logger says for a folder",
        Plant("loggers/writers.py", "log_folder", "and Path(path).is_dir()", ""),
        red=("tests/loggers/test_writers.py::test_what_is_no_folder_gets_no_files",),
    ),
    _mutant(
        "hands NaN to other callbacks",
        Plant("loggers/publisher.py", "watchable", "math.isnan(value)", "False"),
        red=("tests/loggers/test_scalars.py::test_scalars_that_never_were_defined_are_1_for_gaps_and_0_for_the_others",),
    ),
    _mutant(
        "asks a logger that cannot answer, unguarded",
        Plant(
            "loggers/publisher.py",
            "Publisher.publish_pictures",
            'self._asked(logger, shows_pictures, "pictures")',
            "shows_pictures(logger)",
        ),
        red=("tests/compatibility/test_faults.py::test_a_read_only_folder_costs_what_would_be_written_there",),
    ),
    _mutant(
        "writes what is not known as a number",
        Plant(
            "loggers/wire.py",
            "_quantized",
            "np.where(known, exact.round().clip(0, UNKNOWN - 1), UNKNOWN)",
            "exact.round().clip(0, UNKNOWN - 1)",
        ),
        red=("tests/loggers/test_wire.py::test_values_come_back_to_half_a_level",),
    ),
    _mutant(
        "writes a step twice",
        Plant("loggers/recorder.py", "Recorder.record", "report.step <= last", "report.step < last"),
        red=("tests/tensorboard_plugin/test_written.py::test_a_step_is_written_once_and_none_before_it",),
    ),
    # The tab, settings, analyses
    _mutant(
        "takes a run that has gone for an error of the server",
        Plant("tensorboard_plugin/plugin.py", "Plugin._blob", "(errors.NotFoundError, KeyError)", "errors.NotFoundError"),
        red=("tests/tensorboard_plugin/test_routes.py::test_a_run_that_has_gone_is_not_found",),
    ),
    _mutant(
        "keeps the last of two equal keys",
        Plant("config/reader.py", "_Reader.build", "name in lines", "False"),
        red=("tests/config/test_reader.py::test_a_slip_is_one_line_with_file_and_line",),
    ),
    _mutant(
        "analyzes logits without a look at whether the head gives them",
        Plant(
            "capture/consistency.py",
            "Consistency.read_rows",
            "self.read(weights, f_BD, z_BK, was_written=False, in_half=in_half)",
            "Observation(weights.unembedding, z_BK, f_BD, bias=weights.bias, response=weights.response)",
        ),
        red=("tests/analysis/test_analyze.py::test_logits_that_changed_behind_the_head_leave_its_embeddings_out",),
    ),
    _mutant(
        "runs code in a checkpoint",
        Plant("analysis/pickles.py", "load_pickled", "weights_only=True, mmap", "weights_only=False, mmap"),
        red=("tests/analysis/test_analyze.py::test_what_is_wrong_is_one_line_and_status_2",),
    ),
    _mutant(
        "leaves out a bias that is not called so",
        Plant("analysis/layer_names.py", "_BIAS_WORDS", '("bias", "b", "biases", "intercept", "intercepts")', '("bias",)'),
        red=("tests/analysis/test_saved_heads.py::test_a_bias_is_found_beside_its_weight",),
    ),
    _mutant(
        "takes an optimizer's tensors for a model's",
        Plant("analysis/nested_tensors.py", "_is_of_training", "_NO_WEIGHTS.fullmatch(str(key)) is not None or", "False and"),
        red=("tests/analysis/test_nested_tensors.py::test_an_optimizer_is_never_a_head",),
    ),
    _mutant(
        "takes a head beside a loose matrix",
        Plant("analysis/saved_heads.py", "weight_name", "len(common) == 1 and not loose", "len(common) == 1"),
        red=("tests/analysis/test_nested_tensors.py::test_a_loose_matrix_beside_a_state_dict_is_no_head",),
    ),
    _mutant(
        "takes percentages for logits",
        Plant(
            "analysis/saved_logits.py",
            "_why_no_exclusive",
            '((1.0, "probabilities"), (100.0, "percentages"))',
            '((1.0, "probabilities"),)',
        ),
        red=("tests/analysis/test_saved_logits.py::test_probabilities_are_no_logits",),
    ),
    _mutant(
        "multiplies where a model divides its logits",
        Plant("capture/logit_changes.py", "_settings_of", "1 / scale", "scale"),
        red=("tests/analysis/test_saved_models.py::test_caps_and_scales_of_the_configuration_are_used",),
    ),
    _mutant(
        "caps the logits of a classifier",
        Plant("analysis/saved_models.py", "SavedModel.changes_logits", "return not self.has_labels", "return True"),
        red=("tests/analysis/test_saved_models.py::test_heads_that_are_no_language_models_have_neither_cap_nor_scale",),
    ),
    _mutant(
        "takes a layer with as many rows as tokens for a tied head",
        Plant("analysis/saved_models.py", "SavedModel.weight_name", "only_usual=self.has_tokens", "only_usual=False"),
        red=("tests/analysis/test_saved_models.py::test_the_configuration_tells_the_head",),
    ),
    _mutant(
        "forgets the scale of an adapter",
        Plant("analysis/saved_layers.py", "_with_adapters", "weight + scale *", "weight + 1.0 *"),
        red=("tests/analysis/test_saved_layers.py::test_an_adapter_beside_its_base_is_merged",),
    ),
    # Evidence
    _mutant(
        "trusts the rows of a call again after a call that selected inputs",
        Plant("capture/evidence/window.py", "EvidenceWindow._check", "self.has_rows &=", "self.has_rows ="),
        red=(f"{KEEPER}::test_one_call_of_another_number_of_rows_costs_the_rows_identifiers_and_views_of_a_window",),
    ),
    _mutant(
        "trusts its own rows where another process cannot",
        Plant(
            "capture/evidence/keeper.py", "EvidenceKeeper.close", "all(processes.each(int(window.has_rows)))", "window.has_rows"
        ),
        red=(f"{KEEPER}::test_rows_are_unknown_on_all_processes_if_they_are_on_one",),
    ),
    _mutant(
        "takes the targets of a part of a sequence for the sequence",
        Plant("capture/evidence/references.py", "has_sequences", "max(lengths, default=0) <= length", "length > 0"),
        red=(f"{KEEPER}::test_labels_for_a_part_of_the_sequence_do_not_make_it_the_whole",),
    ),
    _mutant(
        "reads the order of the first loader for all loaders",
        Plant("callback/loaders.py", "Places.of", "orders[dataloader_idx] if", "orders[0] if"),
        red=(f"{EVIDENCE}::test_references_tell_several_loaders_apart",),
    ),
)


def lines_of(source: str, name: str) -> tuple[int, int]:
    """The first line of what has a name in a module, from 0, and the line behind its last.

    Raises:
        PlantError: nothing has it, or several have.
    """
    body, found = ast.parse(source).body, list[ast.stmt]()
    for part in name.split("."):
        found = [statement for statement in body if part in _names_of(statement)]
        if len(found) != 1:
            raise PlantError(f"{name}: {part} stands {len(found)} times, expected once.")
        body = getattr(found[0], "body", [])
    return found[0].lineno - 1, found[0].end_lineno or found[0].lineno


def _names_of(statement: ast.stmt) -> Iterator[str]:
    """What a statement gives a name to."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    for target in targets:
        for one in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(one, ast.Name):
                yield one.id


def planted(source: str, plant: Plant) -> str:
    """The source of a module with the change.

    Raises:
        PlantError: the name or the text is not there exactly once, or what comes out is no other Python.
    """
    first, end = lines_of(source, plant.name)
    lines = source.splitlines(keepends=True)
    segment = "".join(lines[first:end])
    if segment.count(plant.old) != 1:
        raise PlantError(f"{plant.name}: {plant.old!r} stands {segment.count(plant.old)} times, expected once.")
    changed = "".join([*lines[:first], segment.replace(plant.old, plant.new), *lines[end:]])
    try:
        tree = ast.parse(changed)
    except SyntaxError as error:
        raise PlantError(f"{plant.name}: {plant.new!r} in place of {plant.old!r} does not compile: {error}.") from None
    if ast.dump(tree) == ast.dump(ast.parse(source)):
        raise PlantError(f"{plant.name}: {plant.new!r} in place of {plant.old!r} changes nothing.")
    return changed


def copied(source: Path, folder: Path, plants: tuple[Plant, ...] = ()) -> Path:
    """A copy of the project below a folder, with changes; what has been compiled comes along."""
    copy = Path(tempfile.mkdtemp(dir=folder))
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, copy / name)
        else:
            shutil.copy2(source / name, copy / name)
    for plant in plants:
        path = copy / "lightning_cossim" / plant.file
        text = planted(path.read_text(encoding="utf-8"), plant)
        path.write_text(text, encoding="utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()
    return copy


def failures(folder: Path, tests: set[str]) -> tuple[str, set[str]]:
    """What pytest printed in a copy of the project, and which of the named tests failed there."""
    options = ["-q", "-rfE", "--no-header", "--tb=short", "-p", "no:cacheprovider", *(["-x"] if len(tests) == 1 else [])]
    command = [sys.executable, "-m", "pytest", *options, *sorted(tests)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    red = re.findall(r"^(?:FAILED|ERROR) (.+)", ran.stdout, flags=re.MULTILINE)
    failed = {test for test in tests if any(re.match(rf"{re.escape(test)}(?:\[|::| |$)", line) for line in red)}
    return ran.stdout + ran.stderr, failed


def tried(clean: Path, folder: Path, mutant: Mutant) -> tuple[str, set[str]]:
    """What pytest printed with a mutant planted, and the tests that do not see it."""
    copy = copied(clean, folder, mutant.plants)
    printed, red = failures(copy, set(mutant.red))
    shutil.rmtree(copy)
    return printed, set(mutant.red) - red


def _parted(tests: set[str]) -> list[set[str]]:
    """The tests in parts that run side by side, those of a file together."""
    files = sorted({test.partition("::")[0] for test in tests})
    parts = [{test for test in tests if test.partition("::")[0] in files[start::AT_A_TIME]} for start in range(AT_A_TIME)]
    return [part for part in parts if part]


def main(numbers: list[int]) -> int:
    """Try the mutants with these numbers, default all; 0 if every one was seen by every test named beside it."""
    chosen = {number: mutant for number, mutant in enumerate(MUTANTS, 1) if not numbers or number in numbers}
    survived = 0
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(AT_A_TIME) as workers:
        folder = Path(name)
        clean = copied(ROOT, folder)
        parts = _parted({test for mutant in chosen.values() for test in mutant.red})
        for printed, red in workers.map(lambda tests: failures(clean, tests), parts):
            if red or " passed" not in printed:
                print(f"{printed}\nRed without any mutant: {', '.join(sorted(red))}")
                return 1
        trials = {number: workers.submit(tried, clean, folder, mutant) for number, mutant in chosen.items()}
        for number, trial in trials.items():
            printed, blind = trial.result()
            survived += bool(blind)
            print(f"{number:3} {'SURVIVED' if blind else 'seen':9} {chosen[number].bug}", flush=True)
            if blind:
                print(f"{printed}Not seen by {', '.join(sorted(blind))}", flush=True)
    print(f"\n{len(chosen) - survived} of {len(chosen)} mutants seen.")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]]))
