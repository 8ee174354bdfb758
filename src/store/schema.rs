//! The tables as Diesel sees them; `migrations/` is what makes them.

macro_rules! tables {
    ($($table:ident = $name:literal ($($key:ident),+) { $($column:ident -> $type:ty,)+ })+) => {
        $(diesel::table! {
            #[sql_name = $name]
            $table ($($key),+) { $($column -> $type,)+ }
        })+
    };
}

tables! {
    state = "svc_changeover_state" (id) {
        id -> BigInt,
        config_version -> BigInt,
        config_changed_at -> BigInt,
        token_version -> BigInt,
        audit_count -> BigInt,
        audit_hash -> Text,
        epoch -> Text,
    }
    flags = "svc_changeover_flags" (key) {
        key -> Text,
        version -> BigInt,
        data -> Text,
        updated_at -> BigInt,
        updated_by -> Text,
    }
    flag_versions = "svc_changeover_flag_versions" (key, version) {
        key -> Text,
        version -> BigInt,
        data -> Nullable<Text>,
        at -> BigInt,
        actor -> Text,
        reason -> Text,
    }
    cohorts = "svc_changeover_cohorts" (name) {
        name -> Text,
        description -> Text,
        generation -> BigInt,
        id_count -> BigInt,
        created_at -> BigInt,
        updated_at -> BigInt,
        updated_by -> Text,
        conditions -> Text,
    }
    cohort_leaves = "svc_changeover_cohort_leaves" (cohort, first_id, from_generation) {
        cohort -> Text,
        first_id -> Text,
        from_generation -> BigInt,
        until_generation -> Nullable<BigInt>,
        id_count -> BigInt,
        ids -> Text,
    }
    cohort_generations = "svc_changeover_cohort_generations" (cohort, generation) {
        cohort -> Text,
        generation -> BigInt,
        action -> Text,
        description -> Text,
        conditions -> Text,
        id_count -> BigInt,
        added -> BigInt,
        removed -> BigInt,
        sha256 -> Nullable<Text>,
        at -> BigInt,
        actor -> Text,
        reason -> Text,
        readable -> Bool,
    }
    cohort_uploads = "svc_changeover_cohort_uploads" (id) {
        id -> Text,
        cohort -> Text,
        base_generation -> BigInt,
        action -> Text,
        id_count -> BigInt,
        sha256 -> Text,
        receipt -> Text,
        created_at -> BigInt,
        actor -> Text,
        reason -> Text,
        expires_at -> BigInt,
    }
    cohort_upload_leaves = "svc_changeover_cohort_upload_leaves" (upload, first_id) {
        upload -> Text,
        first_id -> Text,
        id_count -> BigInt,
        ids -> Text,
    }
    flag_usage = "svc_changeover_flag_usage" (flag) {
        flag -> Text,
        evaluated_at -> BigInt,
    }
    tokens = "svc_changeover_tokens" (id) {
        id -> Text,
        name -> Text,
        role -> Text,
        secret_hash -> Text,
        created_at -> BigInt,
        created_by -> Text,
        expires_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
    }
    audit = "svc_changeover_audit" (id) {
        id -> BigInt,
        at -> BigInt,
        actor -> Text,
        action -> Text,
        subject -> Text,
        reason -> Text,
        detail -> Text,
        previous_hash -> Text,
        hash -> Text,
    }
    reports = "svc_changeover_reports" (id) {
        id -> Text,
        change_name -> Text,
        periods -> Text,
        as_of -> BigInt,
        clean -> Bool,
        exceptions -> BigInt,
        data -> Text,
        sha256 -> Text,
        created_at -> BigInt,
        unexplained -> BigInt,
        file_sha256 -> Text,
    }
    report_signatures = "svc_changeover_report_signatures" (report, name, role) {
        report -> Text,
        name -> Text,
        role -> Text,
        at -> BigInt,
        approves -> Bool,
        comment -> Text,
        sha256 -> Text,
    }
    report_exceptions = "svc_changeover_report_exceptions" (report, charge_id) {
        report -> Text,
        charge_id -> Text,
        class -> Text,
        data -> Text,
    }
    report_parts = "svc_changeover_report_parts" (report, number) {
        report -> Text,
        number -> BigInt,
        data -> Text,
    }
    explanations = "svc_changeover_explanations" (id) {
        id -> Text,
        change_name -> Text,
        version -> BigInt,
        data -> Text,
        created_at -> BigInt,
        created_by -> Text,
        updated_at -> BigInt,
        updated_by -> Text,
        withdrawn_at -> Nullable<BigInt>,
    }
    explanation_versions = "svc_changeover_explanation_versions" (id, version) {
        id -> Text,
        version -> BigInt,
        data -> Nullable<Text>,
        at -> BigInt,
        actor -> Text,
        reason -> Text,
    }
    jobs = "svc_changeover_jobs" (id) {
        id -> Text,
        kind -> Text,
        change_name -> Text,
        state -> Text,
        arguments -> Text,
        progress -> Text,
        result -> Nullable<Text>,
        error -> Nullable<Text>,
        actor -> Text,
        fencing -> BigInt,
        attempts -> BigInt,
        run_after -> BigInt,
        cancel_requested -> Bool,
        created_at -> BigInt,
        started_at -> Nullable<BigInt>,
        updated_at -> BigInt,
    }
    proposals = "svc_changeover_proposals" (id) {
        id -> Text,
        subject -> Text,
        kind -> Text,
        data -> Text,
        overriding -> Bool,
        actor -> Text,
        token -> Text,
        reason -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        state -> Text,
        decided_by -> Nullable<Text>,
        decided_at -> Nullable<BigInt>,
        decided_reason -> Nullable<Text>,
    }
    flag_exposures = "svc_changeover_flag_exposures" (flag, version) {
        flag -> Text,
        version -> BigInt,
        at -> BigInt,
        millionths -> BigInt,
        actor -> Text,
    }
    sessions = "svc_changeover_sessions" (secret_hash) {
        secret_hash -> Text,
        token -> Text,
        created_at -> BigInt,
        seen_at -> BigInt,
        expires_at -> BigInt,
    }
}
