# frozen_string_literal: true

require_relative "helper"

class WritesTest < TestCase
  include SharedServer

  def test_a_transaction_with_references
    writes = client(server).writes("billing-allocation")
    answer = writes.transaction do |operations|
      user = operations.insert(:users, { name: "Zoë" })
      operations.insert(:videos, { user_id: user[:id], title: "First" }, { user_id: user[:id], title: "Second" })
    end
    rows = answer["operations"].map { |operation| operation["rows"] }
    assert_equal [rows[0][0]["id"]] * 2, rows[1].map { |row| row["user_id"] }
    assert_includes answer["translated"].map { |block| block["table"] }, "accounts"
    writes.update(:videos, where: { id: rows[1][0]["id"] }, set: { title: "Renamed" }, if: { title: "First" })
    error = assert_raises(Changeover::PreconditionFailed) { writes.update(:videos, where: { id: rows[1][0]["id"] }, set: { title: "x" }, if: { title: "First" }) }
    assert_equal "row_differs", error.code
    assert_equal 0, error.faults.first["operation"]
    assert_raises(Changeover::Invalid) { writes.insert(:users, { nmae: "x" }) }
    writes.delete(:videos, where: { id: rows[1][1]["id"] })
    assert_equal "users", writes.describe["tables"].map { |table| table["table"] }.find { |name| name == "users" }
  end

  def test_written_once
    writes = client(server).writes("billing-allocation")
    ids = Array.new(2) { writes.insert(:users, { name: "Once" }, idempotency_key: "once-1")["operations"][0]["rows"][0]["id"] }
    assert_equal 1, ids.uniq.size
    dry = writes.run([{ "insert" => "users", "row" => { "name" => "Dry" } }], dry_run: true)
    assert dry["dry_run"]
    assert_raises(Changeover::Forbidden) { Changeover::Client.new(url: server.url, token: server.token_of("evaluate")).writes("billing-allocation").describe }
    assert_raises(Changeover::Unauthenticated) { Changeover::Client.new(url: server.url, token: "co_x").writes("billing-allocation").describe }
  end
end

class RoutingTest < TestCase
  include SharedServer

  def test_sides_and_an_allocation
    asking = client(server)
    assert_equal "old", asking.side_of("billing-allocation", 1, "2026-12")
    assert_equal [["1", "old"], ["nobody", "old"]], asking.sides_of("billing-allocation", %w[1 nobody], "2026-12").map { |answer| [answer.user, answer.side] }
    allocation = asking.allocation_of("billing-allocation", 1)
    assert_equal ["1", "2026-12", "EUR", "old", [["1", "1000"]]], [*allocation.to_a.first(4), allocation.parts.map(&:to_a)]
    assert_raises(Changeover::NotFound) { asking.side_of("no-such-change", 1) }
    assert_raises(Changeover::NotFound) { asking.allocation_of("billing-allocation", "99999") }
    assert_raises(Changeover::Error) { asking.side_of("billing-allocation", 1, "December") }
  end

  def test_sides_are_kept_and_the_last_known_one_counts
    away = false
    told = told_server { away ? :closed : [200, {}, "{\"side\":\"new\"}\n"] }
    asking = client(told, events: false, side_max_age: 0.05, retries: Changeover::Retries.new(sleeper: ->(_) {}))
    2.times { assert_equal "new", asking.side_of("c", 1) }
    assert_equal 1, told.requests.size
    away = true
    sleep 0.06
    assert_equal "new", asking.side_of("c", 1)
    assert_equal "old", asking.side_of("c", 2, default: "old")
    assert_raises(Changeover::ConnectionFailed) { asking.side_of("c", 2) }
  end

  def test_many_users_are_asked_for_as_they_are_read
    told = told_server { |request| [200, {}, request.body.lines.map { "{\"side\":\"old\"}\n" }.join] }
    answers = client(told, events: false).sides_of("c", (1..2500).lazy)
    assert_equal "old", answers.next.side
    assert_equal 1, told.requests.size
    assert_equal 2500, answers.count
  end
end

class RackTest < TestCase
  include SharedServer

  def respond(env, **options)
    app = ->(inner) { [200, {}.freeze, [inner["changeover.side"]]] }
    Changeover::Rack::Side.new(app, change: "billing-allocation", user: ->(inner) { inner["user"] }, **options).call(env)
  end

  def test_the_side_is_in_the_environment_and_the_header
    require "rack"
    status, headers, body = ::Rack::Lint.new(lambda { |env| respond(env.merge("user" => "1"), client: client(server)) }).call(::Rack::MockRequest.env_for("/"))
    assert_equal [200, "old"], [status, headers["x-changeover-side"]]
    body.each { |text| assert_equal "old", text }
    body.close
    told = told_server { [200, {}, "{\"side\":\"new\"}\n"] }
    assert_equal [200, { "x-changeover-side" => "new" }, ["new"]], respond({ "user" => 1 }, client: client(told, events: false))
  end

  def test_nobody_and_failures_are_old
    assert_equal ["old"], respond({}, client: client(server)).last
    broken = Changeover::Rack::Side.new(->(env) { [200, {}, [env["changeover.side"]]] }, change: "c", user: ->(_) { raise "no session" }, client: client(server))
    assert_equal ["old"], broken.call({}).last
    told = told_server { [500, {}, ""] }
    assert_equal ["old"], respond({ "user" => 1 }, client: client(told, events: false, retries: Changeover::Retries.new(sleeper: ->(_) {}))).last
  end
end

class GateTest < TestCase
  RUN = { answer: "run", state: "running", ask_again_seconds: 0.1, single_instance: true }.freeze

  def gate(told)
    client(told, events: false, retries: Changeover::Retries.new(sleeper: ->(_) {})).gate("nightly", holder: "me")
  end

  # A gate that runs, and leases as they are told.
  def leasing(*answers)
    told_server do |request|
      case [request.verb, request.path[%r{/lease.*}]]
      when ["GET", nil] then RUN
      when ["POST", "/lease/release"] then [204, {}, ""]
      else
        answer = answers.size > 1 ? answers.shift : answers.first
        answer.is_a?(Array) ? [answer[0], { "Content-Type" => "application/problem+json" }, JSON.generate(code: answer[1], retry_after_ms: 5)] : answer
      end
    end
  end

  def lease(token, seconds, pause = seconds / 4.0)
    { fencing_token: token, lease_seconds: seconds, heartbeat_after_seconds: pause }
  end

  def test_work_is_done_with_a_lease_that_is_renewed_and_given_back
    told = leasing(lease(7, 30, 0.03))
    worked = gate(told).run do |held|
      eventually("two heartbeats") { told.requests.count { |request| request.path.end_with?("/heartbeat") } >= 2 }
      assert held.allowed?
      held.check!
      held.fencing_token
    end
    assert_equal 7, worked
    assert_equal({ "holder" => "me" }, told.requests[1].json)
    told.requests.drop(2).each { |request| assert_equal({ "holder" => "me", "fencing_token" => 7 }, request.json) }
    assert_equal "/api/v1/gates/nightly/lease/release", told.requests.last.path
  end

  def test_refusals_are_waited_for
    told = leasing([409, "gate_held"], [409, "gate_paused"], [404, "gate_not_found"], [503, "database_unavailable"], lease(1, 60))
    assert_equal(:done, gate(told).run { :done })
    assert_equal(5, told.requests.count { |request| request.path.end_with?("/lease") })
  end

  def test_a_lost_lease_ends_for_good_and_the_work_is_called_again
    told = leasing(lease(1, 30, 0.02), [409, "lease_lost"], lease(2, 60))
    tokens = []
    gate(told).run do |held|
      tokens << held.fencing_token
      next unless tokens.size == 1

      eventually("lost") { !held.allowed? }
      assert_raises(Changeover::LeaseLost) { held.check! }
    end
    assert_equal [1, 2], tokens
  end

  def test_what_the_work_raises_is_the_callers
    told = leasing(lease(1, 30))
    assert_raises(Changeover::NotFound) { gate(told).run { raise Changeover::NotFound, "a row" } }
    assert_equal "/api/v1/gates/nightly/lease/release", told.requests.last.path
  end

  def test_a_lease_that_cannot_be_renewed_runs_out_here_before_it_does_there
    told = leasing(lease(1, 0.3), [503, "database_unavailable"])
    waiting = gate(told)
    began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    waiting.run do |held|
      eventually("run out") { !held.allowed? }
      waiting.stop
    end
    assert_operator Process.clock_gettime(Process::CLOCK_MONOTONIC) - began, :>=, 0.27
  end

  def test_stop_ends_the_work
    told = leasing(lease(1, 60))
    stopping = gate(told)
    stopping.run do |held|
      stopping.stop
      refute held.allowed?
    end
    assert_equal "/api/v1/gates/nightly/lease/release", told.requests.last.path
  end

  def test_a_server_that_is_away_does_not_stop_who_may_run_in_any_number
    away = false
    told = told_server { away ? :closed : RUN.merge(single_instance: false, ask_again_seconds: 0.01) }
    gate(told).hold do |held|
      away = true
      asked = told.requests.size
      eventually("asked again") { told.requests.size > asked + 2 }
      assert held.allowed?
    end
  end

  def test_any_number_may_run_until_they_are_paused
    answer = RUN.merge(single_instance: false, ask_again_seconds: 0.02)
    told = told_server { answer }
    gate(told).hold do |held|
      assert_nil held.fencing_token
      assert held.allowed?
      answer = answer.merge(answer: "pause")
      eventually("paused") { !held.allowed? }
    end
    assert_raises(Changeover::GatePaused) { gate(told).hold { flunk } }
    assert_equal ["GET"], told.requests.map(&:verb).uniq
  end

  def test_a_real_gate
    server = SharedServer.get
    server.request(:Put, "/api/v1/gates/ruby-worker", { single_instance: true, lease_seconds: 30 })
    asking = client(server)
    first = asking.gate("ruby-worker", holder: "first")
    tokens = [first.hold do |held|
      assert_raises(Changeover::GateHeld) { asking.gate("ruby-worker", holder: "second").hold { flunk } }
      assert held.allowed?
      held.fencing_token
    end]
    tokens << asking.gate("ruby-worker", holder: "second").run(&:fencing_token)
    assert_equal tokens.sort.uniq, tokens
    server.request(:Put, "/api/v1/gates/ruby-many", {})
    assert_nil(asking.gate("ruby-many").run(&:fencing_token))
    server.request(:Post, "/api/v1/gates/ruby-worker/pause", { reason: "test" })
    assert_raises(Changeover::GatePaused) { first.hold { flunk } }
    assert_equal "pause", first.state["answer"]
    assert_raises(Changeover::NotFound) { asking.gate("no-such-worker").hold { flunk } }
  end
end
