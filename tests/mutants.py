"""Planted bugs, and the tests that must see them: `python -m tests.mutants`, or with the numbers of some.

Each mutant is a change to the source that a tired person could make. It is applied to a copy of the project in a temporary
folder; every test named beside it must turn red there. Without a change, all of them must be green in that same copy.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPIED = ("lightning_cossim", "tests", "examples", "pyproject.toml", "README.md")

METRICS = "tests/metrics/test_metrics.py"
MONITOR = "tests/callback/test_monitor.py"
GAP = "tests/metrics/test_similarity_gap.py"
VOCABULARY = "tests/capture/test_vocabulary.py"
RUNS = "tests/callback/test_runs.py"
TAB = "tests/tensorboard_plugin"
REACH = "tests/functional/reachability/test_reachability.py"
LINKS = "tests/callback/test_links.py"
HEADS = "tests/compatibility/test_heads.py::test_a_user_gets_what_the_table_says"


@dataclass(frozen=True)
class Mutant:
    """A planted bug: texts to replace, each of which stands exactly once in its file, and the tests that must turn red."""

    bug: str
    changes: tuple[tuple[str, str, str], ...]
    red: tuple[str, ...]


MUTANTS = (
    Mutant(
        "centers over the wrong axis",
        (
            (
                "functional/centering.py",
                "centered = rows.detach().to(self.mean) - self.mean",
                "centered = rows.detach().to(self.mean) - rows.mean(dim=-1, keepdim=True)",
            ),
        ),
        ("tests/functional/test_centering.py", "tests/functional/test_cosine.py", "tests/test_translation.py"),
    ),
    Mutant(
        "takes the Gram matrix before centering",
        (
            (
                "functional/cosine.py",
                "    return _cosines(W_KD, live_K & (W_KD.norm(dim=1) > 0)).to(result_dtype(unembedding))\n",
                """\
    gram_KK = (unembedding.detach() @ unembedding.detach().T).to(W_KD)
    if centered:
        gram_KK = gram_KK - gram_KK.mean(0) - gram_KK.mean(1)[:, None] + gram_KK.mean()
    root_K = gram_KK.diagonal().sqrt()
    return (gram_KK / root_K / root_K[:, None]).clamp_(-1, 1).to(result_dtype(unembedding))
""",
            ),
        ),
        ("tests/functional/test_cosine.py", "tests/test_hostile.py"),
    ),
    Mutant(
        "leaves out the normalization of the overlap",
        (("functional/overlap.py", "(joint / own.sqrt() / others_own.sqrt()).clamp(0, 1)", "(joint / joint.max()).clamp(0, 1)"),),
        ("tests/functional/test_overlap.py", f"{METRICS}::test_value_is_that_of_the_reference"),
    ),
    Mutant(
        "reports the plain instead of the adjusted R²",
        (("functional/comparison.py", "freedom = (num_pairs - 1) / (num_pairs - num_levels)", "freedom = 1.0"),),
        (
            "tests/functional/test_agreement.py",
            f"{MONITOR}::TestReports::test_validation_report_is_that_of_all_validation_inputs",
        ),
    ),
    Mutant(
        "sums the last weight in `forward`",
        (
            ("metrics/logit_geometry.py", "full_state_update = True", "full_state_update = False"),
            (
                "metrics/logit_geometry.py",
                "unseen(num_labels, embedding_dim), dist_reduce_fx=first_seen",
                "torch.zeros(num_labels, embedding_dim), dist_reduce_fx='sum'",
            ),
        ),
        (f"{METRICS}::test_last_unembedding_wins", f"{METRICS}::test_forward_gives_the_batch_and_accumulates_the_same"),
    ),
    Mutant(
        "shifts the moments by the first batch",
        (
            (
                "metrics/logit_geometry.py",
                "        batch = embedding_moments(embedding, seen=seen)\n",
                """\
        if not hasattr(self, 'shift'):
            self.shift = embedding.detach().double().mean(dim=0)
        batch = embedding_moments(embedding - self.shift, seen=seen)
""",
            ),
        ),
        (f"{METRICS}::test_merged_states_of_two_processes_give_the_whole",),
    ),
    Mutant(
        "logs at the trainer's global step",
        (
            (
                "callback/monitor.py",
                '"step": self._steps.step, "dataloader_idx"',
                '"step": trainer.global_step, "dataloader_idx"',
            ),
        ),
        (f"{MONITOR}::TestScalars::test_steps_are_those_of_the_users_own_curves",),
    ),
    Mutant(
        "does not detach the hook",
        (("callback/monitor.py", "            session.end()\n", ""),),
        (
            f"{MONITOR}::TestTouchesNothing::test_training_is_bit_identical",
            f"{MONITOR}::TestTouchesNothing::test_nothing_is_left_after_an_exception_in_the_users_step",
        ),
    ),
    Mutant(
        "detaches only where all went well",
        (
            (
                "callback/monitor.py",
                "        self._record_rest(trainer)\n        self._detach()",
                "        self._record_rest(trainer)",
            ),
        ),
        (f"{MONITOR}::TestTouchesNothing::test_nothing_is_left_after_an_exception_in_the_users_step",),
    ),
    Mutant(
        "samples with the user's random numbers",
        (("capture/sampling.py", "torch.randperm(len(index), generator=generator)", "torch.randperm(len(index))"),),
        (f"{MONITOR}::TestTouchesNothing::test_training_is_bit_identical", "tests/capture/test_observer.py"),
    ),
    Mutant(
        "runs the softmax over the tracked labels only",
        (
            (
                "metrics/probability_overlap.py",
                "h_NK[:, self.labels.to(h_NK.device)]",
                "self.overlap.profiles(self.overlap.log_probabilities(logits[:, self.labels])).values",
            ),
        ),
        (f"{METRICS}::test_tracked_labels_see_the_whole_softmax",),
    ),
    Mutant(
        "keeps the live weight instead of a snapshot",
        (
            (
                "metrics/snapshot.py",
                "unembedding.detach().to(result_dtype(unembedding), copy=True)",
                "unembedding.detach().to(result_dtype(unembedding))",
            ),
        ),
        (
            f"{METRICS}::test_snapshot_does_not_follow_the_weights",
            f"{MONITOR}::TestReports::test_training_report_pools_its_window_under_the_weights_of_its_last_batch",
        ),
    ),
    Mutant(
        "hands NaN to other callbacks",
        (("loggers/publisher.py", " if math.isnan(value) else value for", " if False else value for"),),
        (
            f"{MONITOR}::TestScalars::test_what_is_undefined_is_neutral_for_callbacks_and_absent_from_loggers",
            "tests/loggers/test_scalars.py",
        ),
    ),
    Mutant(
        "counts the sanity check",
        (
            (
                "callback/monitor.py",
                "else self.schedule.validation and not trainer.sanity_checking",
                "else self.schedule.validation",
            ),
        ),
        (f"{MONITOR}::TestReports::test_nothing_comes_from_the_sanity_check",),
    ),
    Mutant(
        "leaves out the products off the diagonal",
        (("functional/overlap.py", "    _add_product(total[first, rest], profiles[:, first], profiles[:, rest])\n", ""),),
        ("tests/functional/test_overlap.py::test_sums_of_many_labels_are_those_of_the_whole_product",),
    ),
    Mutant(
        "adds to sums of a few labels in place",
        (("functional/overlap.py", " and min(total.shape) >= _MIN_IN_PLACE", ""),),
        ("tests/functional/test_overlap.py::test_one_large_call_is_as_exact_as_many_small_ones",),
    ),
    Mutant(
        "counts in float32",
        (("functional/overlap.py", "return torch.int64 if self.counts_inputs else torch.float32", "return torch.float32"),),
        ("tests/functional/test_overlap.py::TestKinds::test_counts_do_not_stall",),
    ),
    Mutant(
        "takes the first of the labels that tie for the last place",
        (
            (
                "functional/overlap.py",
                "        return (log_p_NK >= last_N1) & (log_p_NK > -torch.inf)\n",
                "        return torch.zeros_like(log_p_NK).scatter_(1, log_p_NK.topk(self.k, dim=1).indices, 1.0) > 0\n",
            ),
        ),
        ("tests/functional/test_overlap.py::TestKinds::test_ties_at_the_last_place_are_all_among_the_top",),
    ),
    Mutant(
        "lets tied neighbors all have a seat",
        (("functional/comparison.py", "tied * (k - above.sum(dim=1, keepdim=True)) / tied.sum(dim=1, keepdim=True)", "tied"),),
        ("tests/functional/test_retrieval.py::TestNeighborJaccard",),
    ),
    Mutant(
        "rounds the halves before it ranks them",
        (
            (
                "functional/comparison.py",
                "(half.detach().cpu()[counts_P].double() for half in (overlap_a, overlap_b))",
                "(half.detach().cpu()[counts_P].double().round(decimals=6) for half in (overlap_a, overlap_b))",
            ),
        ),
        ("tests/functional/test_retrieval.py::TestReliability::test_tiny_overlaps_are_ranked_too",),
    ),
    Mutant(
        "lets the hook of a copied head hold what it sees",
        (("capture/taps.py", '"armed": False, "call": None, "_count"', '"_count"'),),
        (f"{MONITOR}::TestTouchesNothing::test_a_copy_of_the_head_can_be_made_in_a_step",),
    ),
    Mutant(
        "counts optimizer steps under manual optimization",
        (("callback/schedule.py", "self.step += self.in_batch if manual else global_step", "self.step += global_step"),),
        (f"{MONITOR}::TestScalars::test_steps_are_those_of_the_users_own_curves", "tests/callback/test_schedule.py"),
    ),
    Mutant(
        "leaves watched keys out when it is switched off",
        (("callback/monitor.py", "                self._reporter.publish_nothing(", "                print("),),
        (f"{MONITOR}::TestTouchesNothing::test_keys_that_others_watch_stay_when_the_monitor_is_switched_off",),
    ),
    Mutant(
        "compares every batch of a fit",
        (
            (
                "callback/schedule.py",
                "            self.next_due = step + self.every_n_steps\n        return self.batches_left > 0\n",
                "            self.next_due = step + self.every_n_steps\n        return True\n",
            ),
        ),
        ("tests/callback/test_schedule.py",),
    ),
    Mutant(
        "ranks overlaps by the rounding of their sums",
        (("functional/comparison.py", "_DIGITS = {torch.float32: 16", "_DIGITS = {torch.float32: 40"),),
        (f"{GAP}::test_overlaps_that_are_equal_tie_whatever_rounding_makes_of_them",),
    ),
    Mutant(
        "takes the rounding beside 1 and -1 for correlations",
        (("functional/logit_geometry.py", "corr_KK = corr_KK.sign()", "pass"),),
        ("tests/test_hostile.py::test_what_is_left_is_right",),
    ),
    Mutant(
        "multiplies embeddings in float32 as large as they are",
        (
            (
                "functional/logit_geometry.py",
                "spread_ND.abs().amax() if len(spread_ND) else spread_ND.new_zeros(())",
                "torch.ones(())",
            ),
        ),
        ("tests/test_hostile.py::test_what_is_left_is_right",),
    ),
    Mutant(
        "tells a problem anew in every batch",
        (("capture/collector.py", 're.sub(r"\\d+", "#", seen.problem)', "seen.problem"),),
        ("tests/callback/test_runs.py::test_targets_of_another_number_are_told_once",),
    ),
    Mutant(
        "splits the halves by the row in the batch",
        (("functional/halves.py", "(position_N + start) % 2", "position_N % 2"),),
        ("tests/functional/test_halves.py", f"{GAP}::test_reliability_is_that_of_inputs_taken_by_turns"),
    ),
    Mutant(
        "tears sequences into both halves",
        (("metrics/similarity_gap.py", "start=start, groups=groups_N", "start=start"),),
        (f"{GAP}::test_sequences_are_not_torn", f"{RUNS}::test_positions_of_sequences_are_inputs_and_padding_is_not"),
    ),
    Mutant(
        "lets inputs that are not finite take a turn",
        (
            (
                "functional/halves.py",
                "seen.cumsum(0) - 1, seen.sum()",
                "torch.arange(len(seen), device=seen.device), torch.tensor(len(seen), device=seen.device)",
            ),
        ),
        ("tests/functional/test_halves.py", f"{GAP}::test_reliability_is_that_of_inputs_taken_by_turns"),
    ),
    Mutant(
        "does not step the agreement of two halves up to that of the whole",
        (("functional/comparison.py", "2 * rho / (1 + rho) if rho > 0", "rho if rho > 0"),),
        ("tests/functional/test_peers.py", f"{GAP}::test_reliability_is_that_of_inputs_taken_by_turns"),
    ),
    Mutant(
        "centers the logits of a sigmoid head",
        (
            (
                "functional/ladder.py",
                "        rows_LD = W_LD\n",
                "        rows_LD = center_labels(unembedding, live=live)[labels]\n",
            ),
        ),
        (f"{GAP}::test_nothing_is_centered_under_a_sigmoid",),
    ),
    Mutant(
        "writes zero for what a sigmoid head does not have",
        (
            (
                "loggers/publisher.py",
                '        if report.stage == "val":\n',
                "        values.setdefault('common_mode_ratio', 0.0)\n        if report.stage == 'val':\n",
            ),
        ),
        (f"{RUNS}::test_a_sigmoid_head_has_its_own_scalars",),
    ),
    Mutant(
        "counts positions that have no target",
        (("capture/collector.py", "generator, self._counted, weights)", "generator, None, weights)"),),
        (f"{RUNS}::test_positions_of_sequences_are_inputs_and_padding_is_not",),
    ),
    Mutant(
        "draws positions instead of whole sequences",
        (("capture/sampling.py", "    if len(shape) == 2:\n", "    if len(shape) == 7:\n"),),
        ("tests/capture/test_sampling.py::test_sequences_stay_whole", "tests/capture/test_observer.py"),
    ),
    Mutant(
        "takes the labels of a convolution from its last dimension",
        (("capture/head.py", "return -1 - len(kernel) if", "return -1 if"),),
        ("tests/capture/test_head.py", "tests/capture/test_observer.py", f"{RUNS}::test_pixels_of_images_are_inputs"),
    ),
    Mutant(
        "looks at a parametrized weight in training",
        (("capture/layers.py", "for part in module.modules() if part.training]", "for part in ()]"),),
        (
            "tests/capture/test_head.py::test_looking_at_a_parametrized_weight_leaves_no_trace",
            "tests/capture/test_observer.py::test_a_parametrized_head_in_training_is_seen_as_it_computed",
            f"{RUNS}::test_training_is_bit_identical",
        ),
    ),
    Mutant(
        "looks at a parametrized weight through the cache",
        (("capture/layers.py", "weight = _whole(parametrizations().detach())", "weight = layer.weight"),),
        ("tests/capture/test_head.py::test_looking_at_a_parametrized_weight_leaves_no_trace",),
    ),
    Mutant(
        "lets a cast of the model narrow the sums",
        (
            (
                "metrics/state.py",
                "super()._apply(fn, exclude_state=[*exclude_state, *self._defaults])",
                "super()._apply(fn, exclude_state=list(exclude_state))",
            ),
        ),
        ("tests/metrics/test_state.py::test_a_cast_of_the_model_around_it_changes_no_state",),
    ),
    Mutant(
        "sums embeddings in float32",
        (("functional/precision.py", '    return device.type != "mps"\n', "    return False\n"),),
        ("tests/metrics/test_state.py::test_embeddings_far_from_the_origin_keep_their_covariance",),
    ),
    Mutant(
        "goes on with the random numbers of the window before",
        (
            (
                "capture/window.py",
                "        self.generator = torch.Generator().manual_seed(seed)\n",
                "        Window.generator = getattr(Window, 'generator', torch.Generator().manual_seed(seed))\n",
            ),
        ),
        (f"{RUNS}::test_after_a_resume_the_curves_are_those_of_an_uninterrupted_run",),
    ),
    Mutant(
        "says in every window what is odd about the head",
        (("capture/collector.py", "if (stage, kind) not in self._told:", "if kind:"),),
        (f"{RUNS}::test_padding_is_named_once_in_a_stage",),
    ),
    Mutant(
        "measures what padding does over the padding itself",
        (("functional/padding.py", "live=others[labels])", "live=live[labels])"),),
        ("tests/functional/test_padding.py", f"{GAP}::test_padding_that_moves_the_others_is_named_with_what_it_does"),
    ),
    Mutant(
        "reads embeddings with weights that have moved on",
        (
            (
                "capture/vocabulary_window.py",
                "        if self._snapshot is not None:\n            self._keep_no_embeddings()\n",
                "",
            ),
        ),
        (f"{VOCABULARY}::test_overlaps_are_those_of_what_was_seen_also_where_weights_move",),
    ),
    Mutant(
        "takes what was kept of a vocabulary for all there is",
        (("functional/sampled/sparse_overlap.py", "torch.minimum(sums_P + self._left_out(pairs), at_most_P)", "sums_P"),),
        (f"{VOCABULARY}::test_overlaps_of_a_few_labels_an_input_are_too_small_by_no_more_than_is_said",),
    ),
    Mutant(
        "bounds what was left out by the inputs that kept neither label",
        (("functional/sampled/sparse_overlap.py", "both_P + without_i_P + without_j_P", "both_P"),),
        (f"{VOCABULARY}::test_overlaps_of_a_few_labels_an_input_are_too_small_by_no_more_than_is_said",),
    ),
    Mutant(
        "lets pairs that were drawn stand for themselves alone",
        (("functional/sampled/stratified.py", "    weight[order >= len(wanted)] = (total - len(wanted)) / num_random\n", ""),),
        ("tests/functional/sampled/test_stratified.py", f"{VOCABULARY}::test_a_sample_stands_for_all_pairs"),
    ),
    Mutant(
        "keeps the first inputs of a long run",
        (("capture/vocabulary_window.py", "        self._stride *= 2\n", ""),),
        (f"{VOCABULARY}::test_of_very_many_inputs_an_even_sample_is_kept",),
    ),
    Mutant(
        "flags look-alikes that may be none",
        (("config/thresholds.py", "report.gap + may_be_P < -thresholds.lookalike", "report.gap < -thresholds.lookalike"),),
        (f"{VOCABULARY}::test_a_look_alike_is_one_only_if_it_is_in_any_case",),
    ),
    Mutant(
        "finds neighbors in one direction",
        (("functional/neighbors.py", "        self._offer(column_C + other.start, row_C + block.start, cosine_C)\n", ""),),
        ("tests/functional/test_neighbors.py::test_they_are_those_of_the_whole_matrix",),
    ),
    Mutant(
        "takes the snapshot of the first process, seen or not",
        (
            (
                "metrics/snapshot.py",
                "    return stacked[seen_P.int().argmax()]\n",
                "    return stacked[0 * seen_P.int().argmax()]\n",
            ),
        ),
        (f"{METRICS}::test_snapshot_comes_from_a_process_that_has_one",),
    ),
    Mutant(
        "acts at every breach once the patience has ended",
        (("report/alerts.py", "if self.counts[number] == alert.patience:", "if self.counts[number] >= alert.patience:"),),
        ("tests/report/test_alerts.py", "tests/callback/test_acting.py"),
    ),
    Mutant(
        "takes an undefined value for a recovery",
        (("report/alerts.py", "            if math.isnan(value):\n                continue\n", ""),),
        ("tests/report/test_alerts.py", "tests/callback/test_acting.py"),
    ),
    Mutant(
        "counts breaches that are not in a row",
        (
            (
                "report/alerts.py",
                "if alert.is_breached_by(value) else 0\n",
                "if alert.is_breached_by(value) else self.counts[number]\n",
            ),
        ),
        ("tests/report/test_alerts.py", "tests/callback/test_acting.py"),
    ),
    Mutant(
        "evaluates alerts without a verdict",
        (
            (
                "config/thresholds.py",
                "if not thresholds.alerts or no_verdict(report, thresholds) is not None:",
                "if not thresholds.alerts:",
            ),
        ),
        ("tests/report/test_verdicts.py", "tests/report/test_alerts.py", "tests/callback/test_acting.py"),
    ),
    Mutant(
        "takes an alert that raises for a fault of its own",
        (("callback/monitor.py", "        except AlertRaised:  # what the user asked for\n            raise\n", ""),),
        ("tests/callback/test_acting.py::test_the_fit_ends_at_the_step_that_the_series_says",),
    ),
    Mutant(
        "lets every process decide for itself",
        (
            (
                "callback/report_queue.py",
                "processes.from_first((report.scalars, alert_values(report, self.thresholds)))",
                "(report.scalars, alert_values(report, self.thresholds))",
            ),
        ),
        ("tests/callback/test_processes.py::test_processes_that_see_different_things_end_together",),
    ),
    Mutant(
        "forgets the breaches before a resume",
        (("callback/report_queue.py", "            self._counters[window].restore(counts)\n", ""),),
        ("tests/callback/test_acting.py::test_counts_begin_anew_with_another_fit_and_go_on_after_a_resume",),
    ),
    Mutant(
        "lets a validation before the fit use up an alert",
        (("callback/report_queue.py", 'counter) if trainer.state.fn == "fit" else counter', "counter)"),),
        ("tests/callback/test_acting.py::test_runs_of_their_own_take_no_part_in_what_a_fit_counts",),
    ),
    Mutant(
        "goes on past an alert that stopped the run",
        (
            (
                "report/alerts.py",
                'same["count"] if alert.action == "warn" else min(same["count"], alert.patience - 1)',
                'same["count"]',
            ),
        ),
        ("tests/callback/test_acting.py::test_a_fit_that_was_stopped_stops_again_after_a_resume",),
    ),
    Mutant(
        "counts the breaches of another fit",
        (("callback/report_queue.py", "        self._counters.clear()\n", ""),),
        ("tests/callback/test_acting.py::test_counts_begin_anew_with_another_fit_and_go_on_after_a_resume",),
    ),
    Mutant(
        "looks at no more inputs than the schedule says",
        (("callback/schedule.py", "    while inputs and length < MAX_WINDOW:\n", "    while False:\n"),),
        ("tests/callback/test_schedule.py", f"{MONITOR}::TestReports::test_a_window_has_the_inputs_that_a_verdict_needs"),
    ),
    Mutant(
        "goes by the inputs of its own process",
        (
            (
                "callback/monitor.py",
                'return sum(session.processes.each(session.watch.num_looked_at.get("train", 0)))',
                'return session.watch.num_looked_at.get("train", 0)',
            ),
        ),
        ("tests/callback/test_processes.py::test_a_fit_of_several_processes_reports_as_one_does",),
    ),
    Mutant(
        "takes the last batch of an epoch for as large as the others",
        (("callback/schedule.py", "ends = 0 if math.isinf(per_epoch) else (phase + length) // per_epoch", "ends = 0"),),
        ("tests/callback/test_schedule.py",),
    ),
    Mutant(
        "flags pairs without mass",
        (
            (
                "config/thresholds.py",
                "report.gap.isfinite() & massive_L[report.compared.row] & massive_L[report.compared.column]",
                "report.gap.isfinite()",
            ),
        ),
        ("tests/report/test_verdicts.py",),
    ),
    Mutant(
        "takes true and false for numbers",
        (("config/checks.py", " or isinstance(value, bool):", ":"),),
        ("tests/callback/test_slips.py", "tests/config/test_types.py", "tests/config/test_settings.py"),
    ),
    Mutant(
        "keeps the path of a file as the configuration has it",
        (("config/types.py", "Path(value, mode=mode).absolute", "Path(value, mode=mode).relative"),),
        ("tests/callback/test_lightning_cli.py", "tests/config/test_types.py"),
    ),
    Mutant(
        "keeps the last of two equal keys",
        (("config/reader.py", "            if name in lines:\n", "            if False:\n"),),
        ("tests/config/test_reader.py", "tests/callback/test_slips.py"),
    ),
    Mutant(
        "lets a NaN stop those who watch a key",
        (("loggers/publisher.py", 'watchable(values, self.watched.get(f"{tags}{end}", {}))', "values"),),
        ("tests/callback/test_acting.py::test_early_stopping_and_checkpoints_act_at_the_epoch_that_the_series_says",),
    ),
    Mutant(
        "draws whatever it costs",
        (
            (
                "callback/budget.py",
                "        return cost <= self.share * _PART[work] * (perf_counter() - done)\n",
                "        return True\n",
            ),
        ),
        (
            "tests/loggers/test_pages.py::test_pictures_come_when_they_fit_into_their_share_and_at_the_end",
            "tests/loggers/test_pages.py::test_training_reports_yield_too_but_the_last",
        ),
    ),
    Mutant(
        "draws no last pictures",
        (("callback/report_queue.py", 'not (at_the_end or budget.allows("pictures")', 'not (budget.allows("pictures")'),),
        ("tests/loggers/test_pages.py::test_pictures_come_when_they_fit_into_their_share_and_at_the_end",),
    ),
    Mutant(
        "orders the labels of every heatmap anew",
        (("loggers/pages.py", "if {*order} <= {*report.labels} and", "if False and {*order} <= {*report.labels} and"),),
        ("tests/loggers/test_pages.py::test_the_order_of_the_first_report_stays",),
    ),
    Mutant(
        "lets colors reach further above zero than below",
        (("report/plots.py", "vmax=limit", "vmax=values[values == values].max()"),),
        ("tests/metrics/test_plot.py::test_a_heatmap_shows_the_values_with_zero_in_the_middle",),
    ),
    Mutant(
        "bypasses the logger's prefix",
        (("loggers/writers.py", "if prefix else tag", "if not prefix else tag"),),
        ("tests/loggers/test_pages.py", "tests/callback/test_acting.py"),
    ),
    Mutant(
        "counts the breaches of all loaders together",
        (
            (
                "callback/report_queue.py",
                "self._counters.setdefault(window, counter)",
                "self._counters.setdefault(report.stage, counter)",
            ),
        ),
        ("tests/loggers/test_pages.py::test_alerts_count_for_each_loader",),
    ),
    Mutant(
        "lets training windows forget what the steps cost",
        (("callback/budget.py", "            cost += self._steps - steps\n", "            pass\n"),),
        ("tests/callback/test_budget.py::test_what_the_steps_take_is_not_there_for_windows",),
    ),
    Mutant(
        "counts what lies within other work twice",
        (("callback/budget.py", "        self._work += cost\n", ""),),
        ("tests/callback/test_budget.py::test_work_within_work_is_counted_once",),
    ),
    Mutant(
        "draws more labels than there are pixels for",
        (("loggers/figures.py", "stable=True)[:most]", "stable=True)"),),
        ("tests/loggers/test_pages.py::test_of_very_many_labels_the_most_probable_are_drawn",),
    ),
    Mutant(
        "gathers nothing from other processes",
        (("capture/window.py", "totals = processes.sums([*states.values()])", "totals = [*states.values()]"),),
        ("tests/callback/test_processes.py::test_a_watched_head_gives_every_process_the_report_of_one",),
    ),
    Mutant(
        "takes the first process's weights, whatever it saw",
        (("capture/window.py", "snapshot_of = seen_by[0] if seen_by else 0", "snapshot_of = 0"),),
        ("tests/callback/test_processes.py::test_the_weights_reported_on_are_those_of_the_inputs",),
    ),
    Mutant(
        "looks for memory while others wait",
        (
            (
                "capture/distributed.py",
                "for copy in self.together(lambda: self._copies(tensors))]",
                "for copy in self._copies(tensors)]",
            ),
        ),
        ("tests/callback/test_session.py::test_sums_that_one_has_no_memory_for_are_begun_by_nobody",),
    ),
    Mutant(
        "goes on where another process has failed",
        (("capture/distributed.py", "        if ranks:\n", "        if failure is not None:\n"),),
        ("tests/callback/test_session.py::test_work_that_fails_on_one_process_fails_on_all",),
    ),
    Mutant(
        "ends at once while others wait",
        (("callback/session.py", "            if self.processes.num == 1:\n                raise\n", "            raise\n"),),
        ("tests/callback/test_session.py::test_a_failure_is_kept_until_all_can_hear_of_it",),
    ),
    Mutant(
        "takes logits that were changed after the head for its own",
        (
            (
                "capture/consistency.py",
                "self._explained[training] = agree(weights, f_ND, z_NK, in_half=in_half)",
                "self._explained[training] = True",
            ),
        ),
        (HEADS, "tests/capture/test_observer.py"),
    ),
    Mutant(
        "does not ask the model for its head",
        (("capture/head.py", "else _own(model) or _found(model", "else _found(model"),),
        (HEADS, "tests/capture/test_head.py::test_a_model_that_names_its_head_is_believed"),
    ),
    Mutant(
        "reads a quantized weight",
        (("capture/layers.py", '        return f"its weight is quantized', '        return None and f"its weight is quantized'),),
        (HEADS,),
    ),
    Mutant(
        "does not see that a model was compiled too early",
        (("capture/layers.py", '(hasattr(part, "_orig_mod") or', "(False and"),),
        ("tests/compatibility/test_execution.py::test_a_user_gets_what_the_table_says",),
    ),
    Mutant(
        "asks a logger that cannot answer, unguarded",
        (("loggers/publisher.py", 'if self._asked(logger, shows_pictures, "pictures")]', "if shows_pictures(logger)]"),),
        ("tests/compatibility/test_faults.py::test_a_read_only_folder_costs_what_would_be_written_there",),
    ),
    Mutant(
        "reads the weights when a validation is over",
        (
            (
                "capture/window.py",
                "        if not metric.update_count:  # this process saw nothing; the weights still have their say\n",
                "        if True:\n",
            ),
        ),
        ("tests/compatibility/test_execution.py::test_a_user_gets_what_the_table_says",),
    ),
    Mutant(
        "takes one label of a pair on top for both",
        (
            (
                "functional/reachability/scaled_head.py",
                "scores_BK.gather(1, own_BT).amin(dim=1)",
                "scores_BK.gather(1, own_BT).amax(dim=1)",
            ),
        ),
        (f"{REACH}::test_answers_are_those_of_other_methods",),
    ),
    Mutant(
        "proves with a mixture that has less bias",
        (
            (
                "functional/reachability/certificates.py",
                "        proves_P &= -behind_PS.sum(dim=1) <= RESIDUAL * behind_PS.abs().sum(dim=1)\n",
                "",
            ),
            (
                "functional/reachability/interior_point.py",
                "sum_Bn[:, self.num_bounds - 1].clamp(max=0)",
                "sum_Bn[:, self.num_bounds - 1]",
            ),
        ),
        (f"{REACH}::test_answers_are_those_of_other_methods",),
    ),
    Mutant(
        "takes a neighbor within rounding for a proof",
        (("functional/reachability/certificates.py", "RESIDUAL * reach_P.clamp(max=1)", "reach_P.new_tensor(RESIDUAL)"),),
        (f"{REACH}::test_what_is_beyond_float64_is_undecided",),
    ),
    Mutant(
        "replaces a label by a mixture that it is in",
        (("functional/reachability/certificates.py", "weights_BS.masked_fill(is_own_BS, 0)", "weights_BS"),),
        (f"{REACH}::test_rows_around_one_point_share_a_mixture",),
    ),
    Mutant(
        "takes labels asked for among their own rivals",
        (("functional/reachability/ascent.py", "weight_BK.scatter(1, own_BT, -1).topk", "weight_BK.topk"),),
        (f"{REACH}::test_with_equal_rows_throughout_the_bias_decides_alone",),
    ),
    Mutant(
        "looks at no rivals but the first",
        (("functional/reachability/separation.py", "near_C[place] and num_new", "False"),),
        (f"{REACH}::test_the_means_are_named",),
    ),
    Mutant(
        "keeps an input at which two labels tie",
        (("functional/reachability/stages.py", "seen.get(tuple(own), (0.0, f_D))[0]", "-1 and tuple(own) not in seen"),),
        (f"{REACH}::test_what_inputs_rank_first_is_reachable",),
    ),
    Mutant(
        "a value that is not known goes over the wire as a number",
        (
            (
                "loggers/wire.py",
                "np.where(known, exact.round().clip(0, UNKNOWN - 1), UNKNOWN)",
                "exact.round().clip(0, UNKNOWN - 1)",
            ),
        ),
        ("tests/loggers/test_wire.py::test_values_come_back_to_half_a_level",),
    ),
    Mutant(
        "a step is written twice",
        (("loggers/recorder.py", "if report.step <= last:", "if report.step < last:"),),
        (f"{TAB}/test_written.py::test_a_step_is_written_once_and_none_before_it",),
    ),
    Mutant(
        "a sequence of blobs without its rank",
        (("loggers/writers.py", ", tensor_shape=shape)", ")"),),
        (f"{TAB}/test_written.py::test_every_report_is_a_step", f"{TAB}/test_routes.py::test_every_run_stage_and_step_is_listed"),
    ),
    Mutant(
        "the furthest look-alikes are not shown of many labels",
        (("loggers/tab.py", "first = [_top(gap), _top(-gap)]", "first = [_top(gap)]"),),
        ("tests/loggers/test_tab.py::test_what_matters_is_among_them",),
    ),
    Mutant(
        "the last step of a vocabulary does not wait for its look-alikes",
        (("callback/report_queue.py", "[report for report in last if self.waits(report)]", "[]"),),
        (f"{TAB}/test_written.py::test_the_last_step_of_a_vocabulary_has_its_look_alikes",),
    ),
    Mutant(
        "a run that has gone is an error of the server",
        (("tensorboard_plugin/plugin.py", "except (errors.NotFoundError, KeyError):", "except errors.NotFoundError:"),),
        (f"{TAB}/test_routes.py::test_a_run_that_has_gone_is_not_found",),
    ),
    Mutant(
        "the number of steps that the user asked for is overruled",
        (
            (
                "tensorboard_plugin/loader.py",
                'flags.samples_per_plugin.setdefault("lightning_cossim", KEPT_STEPS)',
                'flags.samples_per_plugin["lightning_cossim"] = KEPT_STEPS',
            ),
        ),
        (f"{TAB}/test_loader.py::test_steps_are_kept_unless_the_user_says_otherwise",),
    ),
    Mutant(
        "every start of TensorBoard imports torch",
        (("loggers/wire.py", "import numpy as np\n", "import numpy as np\nimport torch\n"),),
        (f"{TAB}/test_loader.py::test_a_start_of_tensorboard_imports_no_torch",),
    ),
    Mutant(
        "the audit compares a head that was not moved",
        (("callback/audit.py", "rows.double() + v_D", "rows.double()"),),
        ("tests/callback/test_audit.py::test_the_audit_can_fail",),
    ),
    Mutant(
        "a pair with a row that is not finite is asked for",
        (("report/reachability.py", " if finite_K[list(pair)].all()", ""),),
        ("tests/report/test_reachability.py::test_rows_that_are_not_finite_are_left_out",),
    ),
    Mutant(
        "the raw cosine is said to be unchanged by a translation",
        (
            (
                "functional/symmetries.py",
                'frozenset({"row_scale", "global_scale"',
                'frozenset({"translation", "row_scale", "global_scale"',
            ),
        ),
        ("tests/metrics/test_invariances.py::test_what_a_metric_names_leaves_it_unchanged",),
    ),
    Mutant(
        "rankings that turn either way drift nowhere",
        (("functional/rankings.py", "[upper[0], upper[1]].abs()", "[upper[0], upper[1]]"),),
        ("tests/functional/test_rankings.py::test_drift_is_what_the_reference_says",),
    ),
    Mutant(
        "biases are held against the largest of all, beside which they look alike",
        (("functional/reachability/certificates.py", "RESIDUAL * behind_PS.abs().sum(dim=1)", "RESIDUAL * head.spread"),),
        (f"{REACH}::test_a_bias_that_rules_labels_out_makes_no_false_no",),
    ),
    Mutant(
        "embeddings that do not explain the logits are taken all the same",
        (("analysis/analyze.py", "    if changed:\n        f_ND = None", "    if False:\n        f_ND = None"),),
        ("tests/analysis/test_analyze.py::test_logits_that_changed_behind_the_head_leave_its_embeddings_out",),
    ),
    Mutant(
        "code in a checkpoint is run",
        (("analysis/checkpoints.py", "weights_only=True", "weights_only=False"),),
        ("tests/analysis/test_analyze.py::test_what_is_wrong_is_one_line_and_status_2",),
    ),
    Mutant(
        "centers the rows of a soft-capped head",
        (
            (
                "functional/ladder.py",
                '"softcap": _uncentered(',
                '"softcap": (lambda why, note: Ladder(SIMILARITIES, "centered_cosine", MappingProxyType({})))(',
            ),
        ),
        (f"{LINKS}::test_every_number_is_that_of_the_formulas",),
    ),
    Mutant(
        "says that a soft-capped head does not see a translation",
        (("functional/symmetries.py", 'if link == "softmax" or kind', 'if link != "sigmoid" or kind'),),
        ("tests/metrics/test_invariances.py",),
    ),
    Mutant(
        "says that a cosine head does not see a translation",
        (
            (
                "functional/symmetries.py",
                '    {"rotation", "label_permutation", "bias_shift",',
                '    {"translation", "rotation", "label_permutation", "bias_shift",',
            ),
        ),
        ("tests/metrics/test_invariances.py",),
    ),
    Mutant(
        "takes what a head gives out for the capped logits",
        (("capture/consistency.py", "weights.response.of_output(seen.logits)", "seen.logits"),),
        (f"{LINKS}::test_every_number_is_that_of_the_formulas", HEADS),
    ),
    Mutant(
        "caps logits that are capped already",
        (
            (
                "capture/consistency.py",
                "        elif self.is_final or self._is_capped(",
                "        elif False and self._is_capped(",
            ),
        ),
        (HEADS,),
    ),
    Mutant(
        "takes the embeddings of a cosine head as they are",
        (("functional/links.py", 'unit_rows(embedding) if self.link == "cosine" else embedding', "embedding"),),
        (
            f"{LINKS}::test_every_number_is_that_of_the_formulas",
            "tests/functional/test_links.py",
            "tests/metrics/test_invariances.py",
        ),
    ),
    Mutant(
        "leaves the scale out of the log-odds of a cosine head",
        (
            (
                "functional/links.py",
                "unit_rows(unembedding).mul_(scale if math.isfinite(scale) else 1.0)",
                "unit_rows(unembedding)",
            ),
        ),
        (f"{LINKS}::test_every_number_is_that_of_the_formulas", f"{LINKS}::test_a_scale_is_in_the_log_odds_and_in_nothing_else"),
    ),
    Mutant(
        "takes a cosine head's logits of training, margins and all",
        (
            (
                "capture/consistency.py",
                "weights.logits(f_ND), f_ND, problem=problem)\n\n    def _unlike",
                "z_NK, f_ND, problem=problem)\n\n    def _unlike",
            ),
            (
                "capture/observer.py",
                "None if has_all and self.head.module.training and not is_linear(self.head.module) else output",
                "output",
            ),
        ),
        (f"{LINKS}::test_a_training_window_has_no_margins_in_it",),
    ),
    Mutant(
        "takes the scale of a cosine head for what it was at first",
        (("capture/head.py", "        if self.scale_name is not None:\n", "        if False:\n"),),
        (f"{LINKS}::test_a_learned_scale_is_that_of_the_moment",),
    ),
    Mutant(
        "works a vocabulary's overlaps out at another scale than was seen",
        (("capture/vocabulary_window.py", " and before == response:", ":"),),
        (f"{LINKS}::test_a_vocabulary_whose_scale_has_moved_is_not_worked_out_anew",),
    ),
    Mutant(
        "takes every number a margin may have moved for another head",
        (("capture/consistency.py", "<= (z_NK.shape[1] > 1)", "<= 0"),),
        ("tests/capture/test_cosine_heads.py::test_a_margin_on_the_target_hides_nothing",),
    ),
    Mutant(
        "caps twice what a head has capped itself",
        (("capture/consistency.py", "        return self._caps_itself\n", "        return False\n"),),
        (f"{LINKS}::test_a_head_that_caps_its_logits_itself_is_not_capped_twice",),
    ),
    Mutant(
        "reads columns as rows",
        (("capture/layers.py", "    return weight.T if _has_rows", "    return weight if _has_rows"),),
        ("tests/capture/test_cosine_heads.py::test_rows_that_lie_in_columns_are_turned",),
    ),
    Mutant(
        "does not say that the scale seen is another one",
        (("capture/consistency.py", "abs(one - other) <= _SAME_SCALE * abs(other)", "one > 0"),),
        ("tests/capture/test_cosine_heads.py::test_another_scale_is_told",),
    ),
    Mutant(
        "adds a bias to cosines",
        (("functional/links.py", 'if bias is None or self.link == "cosine" else', "if bias is None else"),),
        ("tests/functional/test_links.py",),
    ),
    Mutant(
        "decides what can be on top by the rows of a cosine head as long as they are",
        (
            (
                "callback/deferred.py",
                "            weights.response.rows(weights.unembedding),\n",
                "            weights.unembedding,\n",
            ),
        ),
        (f"{LINKS}::test_every_label_of_a_cosine_head_is_on_top_in_its_own_direction",),
    ),
    Mutant(
        "forgets the cap where a vocabulary's overlaps come from embeddings",
        (("functional/sampled/pair_overlap.py", "response.logits(f_BD, W_LD, b_L)", "nn.functional.linear(f_BD, W_LD, b_L)"),),
        (f"{LINKS}::test_a_vocabulary_says_what_all_pairs_say",),
    ),
    Mutant(
        "says nothing of what is absent",
        (("report/text.py", "    if not report.ladder.absent:\n", "    if True:\n"),),
        (
            f"{LINKS}::test_what_centering_would_tell_is_absent_with_its_reason",
            f"{LINKS}::test_pages_and_tab_have_what_the_report_has",
        ),
    ),
    Mutant(
        "says nothing to those whose model caps its logits",
        (("capture/model_config.py", 'cap is not None and response.link in {"softmax", "sigmoid"}', "False"),),
        (f"{MONITOR}::TestSetup::test_a_configuration_that_caps_logits_is_told_of",),
    ),
    Mutant(
        "asks of every device whether it rounds",
        (("capture/taps.py", "torch.amp.is_autocast_available(device_type) and ", ""),),
        ("tests/capture/test_observer.py::test_a_call_on_a_device_that_knows_no_autocast_is_seen_without_harm",),
    ),
    Mutant(
        "takes a layer of the user's own for as large as its weight, whatever it says",
        (("capture/cosine_heads.py", "    return dim == num_in and num_labels % num_out == 0\n", "    return True\n"),),
        ("tests/capture/test_head.py::test_a_layer_of_the_user_s_own_is_as_large_as_it_says",),
    ),
)


def failures(folder: Path, tests: set[str]) -> tuple[str, set[str]]:
    """What pytest printed in a copy of the project, and which of the named tests failed there."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--no-header", "-p", "no:cacheprovider", *sorted(tests)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    red = re.findall(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, flags=re.MULTILINE)
    return ran.stdout + ran.stderr, {test for test in tests if any(line.startswith(test) for line in red)}


def copied(folder: Path, mutant: Mutant | None) -> Path:
    """A copy of the project below a folder, with the mutant's changes."""
    copy = Path(tempfile.mkdtemp(dir=folder))
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    for file, old, new in mutant.changes if mutant else ():
        path = copy / "lightning_cossim" / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise SystemExit(f"{mutant.bug if mutant else ''}: {old!r} stands {text.count(old)} times in {file}, expected once.")
        path.write_text(text.replace(old, new), encoding="utf-8")
    return copy


def main(numbers: list[int]) -> int:
    """Try the mutants with these numbers, default all; 0 if every one was seen by every test named beside it."""
    chosen = [(number, mutant) for number, mutant in enumerate(MUTANTS, 1) if not numbers or number in numbers]
    survived = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        printed, red = failures(copied(folder, None), {test for _, mutant in chosen for test in mutant.red})
        if red or " passed" not in printed:
            print(f"{printed}\nRed without any mutant: {', '.join(sorted(red))}")
            return 1
        for number, mutant in chosen:
            _, red = failures(copied(folder, mutant), set(mutant.red))
            blind = set(mutant.red) - red
            survived += bool(blind)
            print(f"{number:3} {'SURVIVED ' + ', '.join(sorted(blind)) if blind else 'seen':9} {mutant.bug}", flush=True)
    print(f"\n{len(chosen) - survived} of {len(chosen)} mutants seen.")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]]))
