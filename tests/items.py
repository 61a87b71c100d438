"""The lists of attacks that a verifier (V) and an endpoint (H) must withstand, and the tests that act out each number.

A number without a test fails tests/unit/test_items.py; `python -m bench trust` runs them all and counts.  In a
parametrized test of many numbers the number begins the parameter's id: `[V17 payload twice]`.
"""

V = {
    1: "one flipped bit in payload, signature or type",
    2: "another payload type, or the same in another spelling",
    3: "two signatures, none, an empty one",
    4: "one key twice toward a threshold, or under two ids",
    5: "a bad signature beside a good one",
    6: "the key id of one key, the signature of another",
    7: "the id of an unknown key",
    8: "no key id",
    9: "an Ed25519 signature for a P-256 key",
    10: "a key in another role",
    11: "RSA, P-384, secp256k1",
    12: "Ed25519 keys for which anybody can sign",
    13: "Ed25519 signatures that are none",
    14: "P-256 signatures in another encoding",
    15: "(r, n-s) is the same verdict",
    16: "base64 in another spelling",
    17: "members that occur twice, at every level",
    18: "numbers that two readers read in two ways",
    19: "deep, long, many",
    20: "bytes that are not plain UTF-8 JSON",
    21: "digests and names that look like others",
    22: "the same JSON, written anew",
    23: "another kind of statement",
    24: "another predicate",
    25: "a result that is none, or contradicts",
    26: "digests by another algorithm, two, none",
    27: "another object's verdict under this name",
    28: "another kernel of the same release",
    29: "object and kernel swapped",
    30: "another recipe",
    31: "an older answer, replayed",
    32: "rows that are missing, doubled, or say something else",
    33: "matrix of one checkpoint, served beside another",
    34: "proofs that lead elsewhere",
    35: "checkpoints in any other form",
    36: "a log entry of another valid signature",
    37: "a log that shrank, or forked; growth is good",
    38: "witnesses who are late, ahead, unlisted, the same twice",
    39: "keys before, after and at their limits",
    40: "a clock in 1970 or 2100",
    41: "root documents that skip, or that too few signed",
    42: "a file that changes after it was read",
    43: "no regular file",
    44: "downloads that are cut, wrong, compressed, redirected",
    45: "garbage from one registry, good from another",
    46: "no answer is remembered past one run",
}
H = {
    1: "paths that climb",
    2: "paths in another spelling",
    3: "paths that are not ASCII, or too long",
    4: "links, FIFOs, folders, dot files in the tree",
    5: "request lines in another form",
    6: "hosts",
    7: "bodies and hidden requests",
    8: "other methods",
    9: "headers without end",
    10: "ranges",
    11: "conditions",
    12: "HEAD is GET without its body",
    13: "encodings",
    14: "slow, silent, many",
    15: "TLS",
    16: "an orderly end under load",
    17: "files that change while they are sent",
    18: "what peers get into the log",
    19: "what statuses give away",
    20: "a disk or a kernel that fails",
}

BORROW, LISTED, LOG = "hostile/test_borrow.py", "hostile/test_list.py", "hostile/test_log.py"
ROOTS, SERVE, SOURCE = "hostile/test_rootdoc.py", "hostile/test_serve.py", "hostile/test_source.py"
OPERATOR, FAULTS, ANY = "hostile/test_serve_operator.py", "hostile/test_serve_faults.py", "hostile/test_any_server.py"
VERIFY, GUARD, POINTS = "hostile/test_verify.py", "hostile/test_guard.py", "hostile/test_checkpoints.py"

# number -> file below tests/, and the tests in it
TESTS: dict[str, dict[str, str]] = {
    **{f"V{n}": {LISTED: "test_list"} for n in (*range(1, 10), *range(14, 27), 36)},
    "V4": {
        LISTED: "test_same_key_in_two_roles_or_twice",
        ROOTS: "test_same_key_under_two_ids test_one_signature_twice",
    },
    "V5": {LISTED: "test_list", ROOTS: "test_bad_signature_beside_a_good_one"},
    "V6": {LISTED: "test_list", ROOTS: "test_wrong_ids"},
    "V10": {LISTED: "test_keys", ROOTS: "test_key_in_another_role test_root_key_in_a_second_role"},
    "V11": {LISTED: "test_keys", ROOTS: "test_verdict_key_of_another_kind test_log_key_of_another_kind"},
    "V12": {
        LISTED: "test_keys test_small_order_log_key", ROOTS: "test_small_order_keys",
        "unit/test_edwards.py": "test_no_edge_loads",
    },
    "V13": {
        LISTED: "test_small_order_log_key", ROOTS: "test_bad_signature_beside_a_good_one", POINTS: "test_v35",
        "unit/test_wycheproof.py": "test_ed25519",
    },
    "V15": {LISTED: "test_list test_malleable_without_a_log"},
    "V21": {LISTED: "test_list test_names_that_look_alike test_names_that_move_the_cursor", VERIFY: "test_terminal"},
    "V27": {BORROW: "test_lying_rows", VERIFY: "test_swapped_bundles test_row_says_other_than_its_bundle"},
    "V28": {BORROW: "test_lying_rows", VERIFY: "test_local_files", "scenarios/test_borrow.py": "test_another_question"},
    "V29": {LISTED: "test_swapped_object_and_kernel test_swapped_is_no_answer_about_the_files"},
    "V30": {BORROW: "test_lying_rows", "scenarios/test_borrow.py": "test_another_question"},
    "V31": {
        LOG: "test_another_answer_in_the_log",
        "hostile/test_history.py": "test_second_answer_stays_beside_the_first",
    },
    "V32": {
        BORROW: "test_lying_rows test_two_answers_in_one_matrix", VERIFY: "test_row_says_other_than_its_bundle",
        LOG: "test_deleted_verdict", "unit/test_manifest.py": "test_pair_twice_or_none",
    },
    "V33": {LOG: "test_matrix_of_another_checkpoint test_served_checkpoint_is_older_than_the_matrix"},
    "V34": {
        "unit/test_logentry.py": "test_proofs test_every_flipped_bit",
        "unit/test_tlog.py": "test_no_other_proof_holds test_no_other_consistency_proof_holds",
    },
    "V35": {POINTS: "test_v35"},
    "V37": {
        LOG: "test_rewritten_history test_old_tree",
        "unit/test_registry_state.py": "test_growth test_rollback test_fork_at_the_same_size",
    },
    "V38": {POINTS: "test_v38 test_both_are_enough"},
    "V39": {ROOTS: "test_key_limits test_missing_beginning test_bad_last_index", LOG: "test_revoked_by_index"},
    "V40": {ROOTS: "test_key_limits", "unit/test_registry_witness.py": "test_no_policy_no_clock"},
    "V41": {ROOTS: "test_skipped_version test_thresholds test_ten_thousand_rotations",
            "unit/test_rootchain.py": "test_threshold_of_the_old test_all_root_keys_change"},
    "V42": {SOURCE: "test_changed_after_reading test_swapped_while_listing"},
    "V43": {SOURCE: "test_odd_files", VERIFY: "test_odd_files"},
    "V44": {
        SOURCE: "test_partial_download test_wrong_length test_redirect_to_another_named_server",
        GUARD: "test_lengths test_part_instead_of_whole test_gzip_bomb test_redirects_away",
    },
    "V45": {BORROW: "test_first_that_holds", "scenarios/test_borrow.py": "test_garbage_and_good"},
    "V46": {"scenarios/test_borrow.py": "test_no_answer_is_not_remembered"},
    "H1": {SERVE: "test_other_paths", ANY: "test_nothing_else"},
    "H2": {SERVE: "test_other_paths", ANY: "test_nothing_else"},
    "H3": {SERVE: "test_other_paths test_odd_requests"},
    "H4": {SERVE: "test_odd_files test_hard_links test_other_paths", ANY: "test_links_and_folders"},
    "H5": {SERVE: "test_odd_requests"},
    "H6": {SERVE: "test_odd_requests"},
    "H7": {SERVE: "test_odd_requests test_hidden_second_request test_pipelining"},
    "H8": {SERVE: "test_other_methods", ANY: "test_reads_only"},
    "H9": {SERVE: "test_odd_requests"},
    "H10": {SERVE: "test_range_is_ignored", ANY: "test_whole_files_only"},
    "H11": {SERVE: "test_conditional"},
    "H12": {SERVE: "test_head", ANY: "test_every_file"},
    "H13": {SERVE: "test_encoding_is_plain test_twins test_twins_that_are_none"},
    "H14": {FAULTS: "test_slow_peers test_half_closed test_resets test_flood_of_connections test_greedy_pipeline"},
    "H15": {
        OPERATOR: "test_tls test_no_renegotiation test_silent_handshake test_reload test_bad_pairs",
        SERVE: "test_odd_requests",
    },
    "H16": {SERVE: "test_orderly_stop test_stop_does_not_wait_for_ever"},
    "H17": {SERVE: "test_file_changes_while_sent", FAULTS: "test_replaced_while_sent"},
    "H18": {OPERATOR: "test_log_keeps_no_secret_and_no_escape test_line_is_one_line"},
    "H19": {SERVE: "test_other_paths"},
    "H20": {FAULTS: "test_disk_errors test_out_of_descriptors"},
}  # fmt: skip


def named(number: str) -> list[str]:
    """`file::test` below tests/ for a number such as V17."""
    return [f"{path}::{name}" for path, names in TESTS[number].items() for name in names.split()]
