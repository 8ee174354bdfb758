# frozen_string_literal: true

module Changeover
  # Whatever this library raises. An evaluation of a flag never raises.
  class Error < StandardError
    # The HTTP status, or nil if there was no answer.
    attr_reader :status
    # The problem's stable code, such as "row_differs" (docs/reference/problems.md), or nil.
    attr_reader :code
    # The problem's sentence, or nil.
    attr_reader :detail
    # Of a write: what is wrong with which operation and row.
    attr_reader :faults
    # Seconds to wait before trying again, or nil.
    attr_reader :retry_after

    def initialize(message = nil, status: nil, code: nil, detail: nil, faults: [], retry_after: nil)
      @status = status
      @code = code
      @detail = detail
      @faults = faults
      @retry_after = retry_after
      super(message || [code, detail || (status && "status #{status}")].compact.join(": "))
    end

    # One of the kinds of docs/clients.md, such as :precondition_failed.
    def kind
      Errors::KINDS.key(self.class) || :unexpected
    end

    # Whether the same request may be made once more.
    def retry?
      Errors::RETRIED.include?(status) || code == "idempotency_key_in_flight"
    end
  end

  class Unauthenticated < Error; end
  class Forbidden < Error; end
  class NotFound < Error; end
  class PreconditionFailed < Error; end
  class Conflict < Error; end
  class RateLimited < Error; end
  class Invalid < Error; end
  class Unavailable < Error; end
  class ServerFailed < Error; end
  # A redirect, or a success that is not what it should be.
  class Unexpected < Error; end
  class GateHeld < Error; end
  class GatePaused < Error; end
  class LeaseLost < Error; end

  # The server could not be reached, or gave no whole answer.
  class ConnectionFailed < Error
    def retry?
      true
    end
  end

  # No answer in time.
  class TimedOut < Error
    def retry?
      true
    end
  end

  # Which answer is which error.
  module Errors
    KINDS = {
      unauthenticated: Unauthenticated, forbidden: Forbidden, not_found: NotFound, precondition_failed: PreconditionFailed, gate_held: GateHeld,
      gate_paused: GatePaused, lease_lost: LeaseLost, conflict: Conflict, rate_limited: RateLimited, invalid: Invalid, unavailable: Unavailable,
      server: ServerFailed, unexpected: Unexpected, timeout: TimedOut, connection: ConnectionFailed
    }.freeze
    CODES = {
      "unauthenticated" => Unauthenticated, "forbidden" => Forbidden, "own_proposal" => Forbidden, "stale" => PreconditionFailed,
      "row_differs" => PreconditionFailed, "gate_held" => GateHeld, "lease_held" => GateHeld, "gate_paused" => GatePaused, "lease_lost" => LeaseLost,
      "rate_limited" => RateLimited, "busy" => Unavailable, "database_unavailable" => Unavailable, "version_not_reached" => Unavailable
    }.freeze
    STATUSES = {
      401 => Unauthenticated, 403 => Forbidden, 404 => NotFound, 410 => NotFound, 412 => PreconditionFailed, 409 => Conflict, 429 => RateLimited,
      502 => Unavailable, 503 => Unavailable, 504 => Unavailable
    }.freeze
    RETRIED = [408, 425, 429, 500, 502, 503, 504].freeze

    module_function

    # @param document [Object] the body, if it was JSON
    def from(status, document, retry_after)
      document = {} unless document.is_a?(Hash)
      code, detail = document.values_at("code", "detail").map { |text| text if text.is_a?(String) }
      millis = document["retry_after_ms"]
      retry_after = millis / 1000.0 if millis.is_a?(Numeric) && millis >= 0
      faults = document["faults"].is_a?(Array) ? document["faults"] : []
      of(status, code).new(nil, status: status, code: code, detail: detail, faults: faults, retry_after: retry_after)
    end

    def of(status, code)
      return CODES[code] if CODES.key?(code)
      return NotFound if code&.end_with?("_not_found")

      STATUSES[status] || (status >= 500 ? ServerFailed : status >= 400 ? Invalid : Unexpected)
    end
  end
end
