# frozen_string_literal: true

require_relative "helper"

class OutageTest < TestCase
  def setup
    @server = Server.new
    @server.flag("f", { on: true, off: false }, "off")
  end

  def teardown
    super
    @server.stop
  end

  def test_a_server_that_is_killed_and_comes_back
    asking = client(@server)
    refute asking.boolean("f", true, "u")
    @server.kill
    1000.times { refute asking.boolean("f", true, "u") }
    assert_equal "PROVIDER_NOT_READY", asking.details("f", true, "somebody new").error
    @server.start
    eventually("the stream is open again") { asking.flags.instance_variable_get(:@stream).open? }
    @server.serve("f", "on")
    eventually("the change is seen") { asking.boolean("f", false, "u") }
    eventually("somebody new") { asking.details("f", false, "somebody new").error.nil? }
  end

  def test_observations_survive_a_restart
    @server.flag("stage", Changeover::Migrator::STAGES.to_h { |stage| [stage, stage] }, "shadow")
    asking = client(@server)
    migrator = asking.migrator("stage", old_read: -> { 1 }, new_read: -> { 2 })
    assert_equal 1, migrator.read("u")
    assert asking.observations.flush(PATIENCE_S)
    @server.kill
    5.times { assert_equal 1, migrator.read("u") }
    @server.start
    eventually("posted") { asking.observations.flush(1) }
    assert_equal [6, 0, 0], asking.stats.values_at(:sent, :dropped, :refused)
    summary = @server.request(:Get, "/api/v1/flags/stage/observations")
    assert_includes JSON.generate(summary), '"stage:read"'
  end

  def test_the_database_is_away
    asking = client(@server)
    refute asking.boolean("f", true, "u")
    @server.database_away
    refute asking.boolean("f", true, "u")
    assert_includes [false, true], asking.boolean("f", true, "another")
    assert_raises(Changeover::Error) { Changeover::Client.new(url: @server.url, token: @server.token, events: false).writes("c").run([]) }
  end
end

class ObservationsTest < TestCase
  def test_what_has_no_room_is_dropped_and_counted
    told = told_server { [503, {}, ""] }
    asking = Changeover::Client.new(url: told.url, token: "x", events: false, observations_max: 100)
    250.times { asking.observations.add("/api/v1/flags/f/observations", { "operation" => "o" }) }
    assert_equal [100, 150, 0], asking.stats.values_at(:pending, :dropped, :sent)
    asking.flags.close(0)
  end

  def test_the_same_ids_are_sent_again
    answers = [[503, {}, ""], [200, {}, '{"accepted":1,"refused":[]}']]
    told = told_server { answers.size > 1 ? answers.shift : answers.first }
    asking = client(told, events: false)
    asking.observations.add("/api/v1/flags/f/observations", { "operation" => "o" })
    assert asking.observations.flush(PATIENCE_S)
    ids = told.requests.map { |request| JSON.parse(request.body)["id"] }
    assert_operator ids.size, :>=, 2
    assert_equal 1, ids.uniq.size
  end

  def test_batches_are_bounded
    told = told_server { { accepted: 1, refused: [] } }
    asking = client(told, events: false)
    1200.times { asking.observations.add("/p", { "operation" => "o" * 100 }) }
    asking.observations.add("/p", { "operation" => "x" * 800_000 })
    asking.observations.add("/q", { "operation" => "x" * 800_000 })
    assert asking.observations.flush(PATIENCE_S)
    assert_equal 1202, asking.stats[:sent]
    told.requests.each { |request| assert_operator request.body.lines.size, :<=, 500 }
    told.requests.each { |request| assert_operator request.body.bytesize, :<=, 900_000 }
    assert_equal ["/q"], told.requests.map(&:path).uniq - ["/p"]
  end
end

class ForkTest < TestCase
  include SharedServer

  def test_a_client_that_was_made_before_a_fork
    name = "fork-#{rand(2**40)}"
    server.flag(name, { on: true, off: false }, "off")
    asking = client(server)
    refute asking.boolean(name, true, "u")
    reader, writer = IO.pipe
    child = fork do
      Minitest.class_variable_set(:@@installed_at_exit, true)
      answers = [asking.boolean(name, true, "u"), asking.boolean(name, true, "child")]
      writer.puts("ready")
      deadline = Time.now + 20
      sleep 0.01 until (changed = asking.boolean(name, false, "u")) || Time.now > deadline
      asking.observations.add("/api/v1/flags/#{name}/observations", { "operation" => "o", "old" => {}, "new" => {} })
      writer.puts(JSON.generate([answers, changed, asking.observations.flush(10)]))
      writer.flush
      exit!(0)
    end
    assert_equal "ready\n", reader.gets
    server.serve(name, "on")
    assert_equal [[false, false], true, true], JSON.parse(reader.gets)
    Process.wait(child)
    eventually("the parent sees it too") { asking.boolean(name, false, "u") }
  end
end
