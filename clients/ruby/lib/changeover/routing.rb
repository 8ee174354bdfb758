# frozen_string_literal: true

require "json"
require "uri"

module Changeover
  # Asks on which side of a change users are. The side decides who is billed: what cannot be told is raised, never guessed,
  # unless the caller says what to take instead.
  class Routing
    # A user's side, or the error of this user alone.
    Answer = Struct.new(:user, :side, :error)
    # Who pays a charge: parts of payer and amount, a text with every digit.
    Allocation = Struct.new(:charge_id, :period, :currency, :side, :group_id, :parts)
    Part = Struct.new(:payer, :amount)

    LINES = 1000
    KEPT_MAX = 10_000
    LAST_KNOWN_SECONDS = 3600
    SIDES = %w[old new].freeze

    def initialize(transport, side_max_age: 10)
      @transport = transport
      @side_max_age = side_max_age
      @kept = {}
      @lock = Mutex.new
    end

    # "old" or "new". A side is kept for some seconds; if the server cannot be asked, the last known one of the last hour counts,
    # then the default, and then it raises.
    def side_of(change, user, period = nil, record: true, default: nil)
      key = [change.to_s, user.to_s, period&.to_s].freeze
      side, at = @lock.synchronize { @kept[key] }
      return side if at && now - at < @side_max_age

      asked(key, record)
    rescue Error => e
      raise if e.is_a?(Invalid)
      return side if at && now - at < LAST_KNOWN_SECONDS

      default || raise
    end

    # Many users, in order: an Enumerator of answers, asked for as it is read, a thousand at a time.
    def sides_of(change, users, period = nil, record: true)
      Enumerator.new do |answers|
        users.each_slice(LINES) { |slice| batch(change, slice, period, record).each { |answer| answers << answer } }
      end
    end

    # @return [Allocation] the one that is in force. It takes a token that may view.
    def allocation_of(change, charge)
      told = @transport.again(:get, "/api/v1/changes/#{change}/charges/#{URI.encode_www_form_component(charge.to_s).gsub('+', '%20')}/explain").json
      rows = told.fetch("queries").to_h { |query| [query["query"], query["rows"]] }
      facts = rows.fetch("charges", []).first || {}
      parts = rows["effective"] || rows.fetch("old", [])
      first = parts.first || {}
      Allocation.new(told["charge_id"] || charge.to_s, facts["period"], facts["currency"], first["side"] || "old", first["group_id"],
                     parts.map { |row| Part.new(row["payer"], row["amount"]) })
    rescue KeyError, NoMethodError, TypeError => e
      raise Unexpected, "the explanation of charge #{charge} is not understood: #{e.message}"
    end

    private

    def asked(key, record)
      change, user, period = key
      answer = batch(change, [user], period, record).first
      raise answer.error if answer.error

      @lock.synchronize do
        @kept.delete(key)
        @kept[key] = [answer.side, now]
        @kept.shift if @kept.size > KEPT_MAX
      end
      answer.side
    end

    def batch(change, users, period, record)
      query = URI.encode_www_form({ period: period, record: record ? nil : false }.compact)
      path = "/api/v1/changes/#{change}/assignments/query#{"?#{query}" unless query.empty?}"
      body = users.map { |user| "#{JSON.generate('user' => user.to_s)}\n" }.join
      lines = @transport.again(:post, path, body, headers: { "Content-Type" => "application/x-ndjson" }).body.lines
      users.each_with_index.map { |user, index| answered(user, lines[index]) }
    end

    def answered(user, line)
      return Answer.new(user, nil, ConnectionFailed.new("the answers broke off before user #{user}")) unless line

      told = JSON.parse(line)
      return Answer.new(user, nil, Invalid.new(detail: told["error"])) if told["error"]
      return Answer.new(user, told["side"], nil) if SIDES.include?(told["side"])

      Answer.new(user, nil, Unexpected.new("the side of user #{user} is #{told['side'].inspect}"))
    rescue JSON::ParserError, NoMethodError, TypeError
      Answer.new(user, nil, Unexpected.new("the answer for user #{user} is not understood"))
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
