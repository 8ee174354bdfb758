# frozen_string_literal: true

require "json"

module Changeover
  # Hears of changes by server-sent events, and connects again with jitter when the stream ends. Runs in its caller's thread.
  class EventStream
    PATH = "/ofrep/v1/events"
    SILENCE = 45
    SHORTEST = 0.1
    LONGEST = 30.0
    LINE_BYTES_MAX = 65_536

    def initialize(transport, random: Random)
      @transport = transport
      @random = random
      @retry_ms = 1000
      @failures = 0
    end

    # Whether a stream is open now.
    attr_reader :open
    alias open? open

    # Yields (etag, lastModified) of each notice; returns when `closed` says so.
    def run(closed:, pause:, &block)
      until closed.call
        begin
          listen(closed, &block)
        rescue Error => e
          asked_to_wait = e.retry_after
        ensure
          @open = false
        end
        break if closed.call

        @failures += 1
        pause.call(wait_seconds(asked_to_wait))
      end
    end

    # Takes a stream apart: `pieces` of text in, (field, value) events out, as the HTML standard says.
    class Parser
      def initialize
        @rest = String.new(encoding: Encoding::BINARY)
        @fields = {}
      end

      def feed(piece)
        @rest << piece.b
        raise Unexpected, "a line of the event stream is too long" if @rest.bytesize > LINE_BYTES_MAX

        while (found = @rest.match(/\r\n|\n|\r(?!\z)/))
          line = found.pre_match
          @rest = found.post_match
          take(line.force_encoding(Encoding::UTF_8)) { |event| yield event }
        end
      end

      private

      def take(line)
        if line.empty?
          yield @fields unless @fields.empty?
          @fields = {}
        elsif !line.start_with?(":")
          name, value = line.split(":", 2)
          value = (value || "").delete_prefix(" ")
          @fields[name] = name == "data" && @fields["data"] ? "#{@fields['data']}\n#{value}" : value
        end
      end
    end

    private

    def listen(closed, &block)
      headers = { "Accept" => "text/event-stream", "Cache-Control" => "no-cache" }
      headers["Last-Event-ID"] = @last_id if @last_id
      @transport.stream(PATH, headers: headers, silence: SILENCE) do |response|
        raise Errors.from(response.code.to_i, nil, response["Retry-After"].to_s[/\A\d+\z/]&.to_i) unless response.code == "200"

        @open = true
        parser = Parser.new
        response.read_body do |piece|
          parser.feed(piece) { |event| notice(event, &block) }
          return if closed.call
        end
      end
    end

    def notice(event)
      @retry_ms = event["retry"].to_i.clamp(100, 30_000) if event["retry"].to_s.match?(/\A\d+\z/)
      @last_id = event["id"] if event["id"] && !event["id"].include?("\0")
      return unless event["data"]

      @failures = 0
      data = JSON.parse(event["data"])
      yield data["etag"], data["lastModified"] if data.is_a?(Hash) && data["type"] == "refetchEvaluation"
    rescue JSON::ParserError
      nil
    end

    def wait_seconds(asked)
      longest = [@retry_ms / 1000.0 * (2**[@failures, 10].min), LONGEST].min
      [@random.rand * longest, SHORTEST, asked || 0].max
    end
  end
end
