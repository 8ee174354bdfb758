# frozen_string_literal: true

require_relative "helper"

# tests/corpus/v1: what the server and all clients do alike.
class CorpusTest < TestCase
  include SharedServer

  def test_buckets
    corpus("buckets").each { |each| assert_equal each["bucket"], Changeover.bucket(each["seed"], each["value"]), each.to_s }
  end

  def load_flags(document)
    document.fetch("cohorts").each do |cohort|
      server.request(:Post, "/api/v1/cohorts", { name: cohort["name"] })
      server.request(:Put, "/api/v1/cohorts/#{cohort['name']}/ids", cohort["ids"].map { |id| "#{id}\n" }.join, type: "text/plain") if cohort["ids"].any?
    end
    document.fetch("flags").each { |flag| server.request(:Post, "/api/v1/flags", flag) }
  end

  def test_evaluations_of_types
    document = corpus("clients/evaluations")
    load_flags(document)
    asking = client(server)
    document["cases"].each { |each| evaluated(asking, each, each["ask"], each["default"]) }
    document["cases"].each { |each| evaluated(asking, each, each["ask"], each["default"], cached: false) }
  end

  def test_evaluations
    document = corpus("evaluations")
    load_flags(document)
    asking = client(server, contexts_max: 5000)
    types = document["flags"].to_h { |flag| [flag["key"], flag["type"]] }
    defaults = { "boolean" => false, "string" => "-", "integer" => -1, "float" => -1.0, "object" => { "-" => 1 } }
    document["cases"].each do |each|
      type = types[each["flag"]]
      expected = each.key?("value") ? each : each.merge("value" => defaults[type])
      evaluated(asking, expected, type, defaults[type])
    end
  end

  def evaluated(asking, expected, type, default, **options)
    details = asking.details(expected["flag"], default, expected["context"], type: type.to_sym, **options)
    if expected["error"]
      assert_equal ["ERROR", expected["error"], default], [details.reason, details.error, details.value].map { |each| each }, expected.to_s
    else
      value = type == "float" ? Float(expected["value"]) : expected["value"]
      assert_equal [expected["reason"], value, expected["variant"]], [details.reason, details.value, details.variant], "#{expected}: #{details.message}"
      %w[rule bucket].each { |name| assert_equal expected[name], details.metadata[name], expected.to_s if expected[name] }
    end
  end

  # ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────

  def kind_of
    yield
    "ok"
  rescue Changeover::Error => e
    @error = e
    e.kind.to_s
  end

  def test_errors
    answer = nil
    told = told_server { answer }
    asking = client(told, events: false, retries: Changeover::Retries.new(sleeper: ->(_) {}))
    corpus("clients/errors")["mappings"].each do |each|
      answer = each.values_at("status", "headers", "body")
      told.requests.clear
      kind = kind_of { asking.writes("c").run([]) }
      assert_equal [each["kind"], each["retried"]], [kind, told.requests.size > 1], each.to_s
      assert_equal each.values_at("code", "faults"), [@error.code, @error.faults], each.to_s
      assert_equal each["detail"], @error.detail, each.to_s if each["detail"]
    end
  end

  def test_retries
    corpus("clients/errors")["retries"].each do |each|
      answers = each["answers"].dup
      told = told_server do
        now = answers.size > 1 ? answers.shift : answers.first
        next :closed if now["closed"]
        next :silent if now["silent"]

        headers = { "Content-Type" => "application/problem+json" }
        headers["Retry-After"] = now["retry_after"] if now["retry_after"]
        [now["status"], headers, JSON.generate(now["code"] ? { code: now["code"] } : {})]
      end
      waits = []
      asking = client(told, events: false, timeout: each["answers"].any? { |now| now["silent"] } ? 0.3 : 5, retries: Changeover::Retries.new(sleeper: ->(seconds) { waits << seconds }))
      assert_equal each["result"], kind_of { asking.writes("c").run([]) }, each.to_s
      assert_equal each["attempts"], told.requests.size, each.to_s
      assert_equal each["waits"].size, waits.size, each.to_s
      waits.zip(each["waits"]) { |wait, (least, most)| assert_includes least..most, wait, each.to_s }
      assert_equal 1, told.requests.map { |request| request.headers["idempotency-key"] }.uniq.size
    end
  end

  def test_evaluations_that_go_wrong
    answer = nil
    told = told_server { answer }
    corpus("clients/errors")["evaluations"].each do |each|
      answer = [each["status"], { "Content-Type" => "application/json" }, each["body"]]
      details = client(told, events: false).details("f", "d", "u", type: :string, cached: !each["one"])
      assert_equal each.values_at("value", "reason", "error"), [details.value, details.reason, details.error], each.to_s
      kept_instead(told, each) { |now| answer = now } if each["kept"]
    end
  end

  def kept_instead(told, each)
    asking = client(told, events: false, max_age: 0.001)
    yield [200, { "Content-Type" => "application/json" }, JSON.generate(flags: [{ key: "f", value: "kept", variant: "k", reason: "STATIC" }])]
    assert_equal "kept", asking.string("f", "d", "u")
    yield [each["status"], { "Content-Type" => "application/json" }, each["body"]]
    sleep 0.02
    details = asking.details("f", "d", "u", type: :string)
    assert_equal each["kept"].values_at("value", "reason", "error"), [details.value, details.reason, details.error], each.to_s
  end

  # ── routing ───────────────────────────────────────────────────────────────────────────────────────────────────────

  def test_sides
    corpus("clients/routing")["sides"].each do |each|
      told = told_server { [200, { "Content-Type" => "application/x-ndjson" }, each["answer"].map { |line| "#{JSON.generate(line)}\n" }.join] }
      answers = client(told, events: false).sides_of("c", each["users"], each["period"], record: each["record"]).to_a
      found = answers.map do |answer|
        next { "side" => answer.side } unless answer.error

        { "error" => answer.error.kind.to_s, "detail" => answer.error.detail }.compact
      end
      assert_equal each["result"], found, each.to_s
      assert_equal each["sent"], told.requests.flat_map { |request| request.body.lines.map { |line| JSON.parse(line) } }, each.to_s
      told.requests.each { |request| assert_equal each["query"], URI.decode_www_form(URI(request.path).query.to_s).to_h, each.to_s }
    end
  end

  def test_allocations
    corpus("clients/routing")["allocations"].each do |each|
      told = told_server { each["answer"] }
      found = client(told, events: false).allocation_of("c", each["charge"])
      assert_equal each["result"], found.to_h.transform_keys(&:to_s).merge("parts" => found.parts.map { |part| part.to_h.transform_keys(&:to_s) }), each.to_s
    end
  end
end
