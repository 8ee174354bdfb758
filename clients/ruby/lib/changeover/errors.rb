# frozen_string_literal: true

module Changeover
  # Whatever this library raises. An evaluation of a flag never raises.
  class Error < StandardError; end

  # The server could not be reached, or went away in mid-answer.
  class Unreachable < Error; end

  # The server took longer than the timeout.
  class TimedOut < Unreachable; end

  # The server answered something that is no answer.
  class Malformed < Error; end

  # The server refused: an RFC 9457 problem. Each code of docs/reference/problems.md has a class of its own, so
  # `rescue Changeover::RowDiffers` works; a code that this version does not know is a plain Problem.
  class Problem < Error
    # The stable code, such as "row_differs".
    attr_reader :code
    # The HTTP status.
    attr_reader :status
    # Of a write: what is wrong with which operation and row.
    attr_reader :faults
    # Seconds to wait before trying again, or nil.
    attr_reader :retry_after
    # The whole document.
    attr_reader :document

    CODES = %w[
      invalid_request invalid_json invalid_path invalid_query invalid_header invalid_upload unauthenticated forbidden rate_limited not_found
      flag_not_found cohort_not_found token_not_found change_not_found report_not_found charge_not_found proposal_not_found job_not_found
      version_not_found method_not_allowed exists in_use not_kept refused second_person_needed own_proposal proposal_closed exposure_limit
      override_needed import_conflict stale too_large unsupported_media_type invalid_flag reason_required invalid_import invalid_change_file
      invalid_value invalid_write row_not_found row_differs unique_violation foreign_key_violation constraint_violation refused_by_database
      translation_failed untranslated idempotency_key_reused idempotency_key_in_flight busy internal version_not_reached
      database_unavailable unknown_gate gate_held gate_paused lease_lost
    ].freeze

    def self.from(status, document, retry_after = nil)
      document = {} unless document.is_a?(Hash)
      (CLASSES[document["code"]] || self).new(status, document, retry_after)
    end

    def initialize(status, document, retry_after = nil)
      @status = status
      @document = document
      @code = document["code"] || document["errorCode"]
      @faults = document["faults"] || []
      millis = document["retry_after_ms"]
      @retry_after = millis.is_a?(Numeric) ? millis / 1000.0 : retry_after
      super([@code, document["detail"] || document["errorDetails"] || document["title"] || "status #{status}"].compact.join(": "))
    end
  end

  Problem::CLASSES = Problem::CODES.to_h do |code|
    [code, const_set(code.split("_").map(&:capitalize).join, Class.new(Problem))]
  end.freeze
end
