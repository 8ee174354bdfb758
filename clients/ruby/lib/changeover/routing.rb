# frozen_string_literal: true

require "json"
require "uri"

module Changeover
  # Asks on which side of a change users and groups are. The side decides who is billed: what cannot be told is raised,
  # never guessed.
  class Routing
    LINES = 1000

    def initialize(transport, change, retries: Retries.new)
      @transport = transport
      @change = change
      @retries = retries
    end

    # "old" or "new": the side of the user's group in a period such as "2026-12"; without one, in the running period.
    # The first question about a group records its side, unless `record` is false.
    def side_of(user, period = nil, record: true)
      answers([{ "user" => user.to_s }], period, record).first.fetch("side")
    end

    def side_of_group(group, period = nil, record: true)
      answers([{ "group" => group.to_s }], period, record).first.fetch("side")
    end

    # Many users: {user => side}, a thousand to a request. A user of whom it cannot be told raises.
    def sides_of(users, period = nil, record: true)
      users.each_slice(LINES).with_object({}) do |slice, sides|
        answers(slice.map { |user| { "user" => user.to_s } }, period, record).each.with_index { |answer, index| sides[slice[index]] = answer.fetch("side") }
      end
    end

    # All that is known of a charge: the old and the new allocation, its class, and the side that bills it. It takes a token
    # that may view.
    def charge(id)
      @retries.run { @transport.get("/api/v1/changes/#{@change}/charges/#{URI.encode_www_form_component(id.to_s)}/explain").checked.json }
    end

    private

    def answers(questions, period, record)
      query = URI.encode_www_form({ period: period, record: record ? nil : false }.compact)
      path = "/api/v1/changes/#{@change}/assignments/query#{"?#{query}" unless query.empty?}"
      body = questions.map { |question| JSON.generate(question) }.join("\n")
      text = @retries.run { @transport.post(path, body, headers: { "Content-Type" => "application/x-ndjson" }).checked.body }
      lines = text.each_line.map { |line| JSON.parse(line) }
      raise Malformed, "#{questions.size} questions had #{lines.size} answers" unless lines.size == questions.size

      failed = lines.find { |line| line["error"] }
      raise Error, "#{failed['user']}: #{failed['error']}" if failed

      lines
    rescue JSON::ParserError, KeyError => e
      raise Malformed, e.message
    end
  end
end
