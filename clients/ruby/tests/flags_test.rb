# frozen_string_literal: true

require_relative "helper"

class FlagsTest < TestCase
  include SharedServer

  def key
    "f-#{rand(2**40)}"
  end

  def test_every_type
    name = key
    server.flag("#{name}-b", { on: true, off: false }, "on")
    server.flag("#{name}-s", { a: "ä\"😀", b: "" }, "a")
    server.flag("#{name}-i", { a: 2**53 + 1 }, "a")
    server.flag("#{name}-f", { a: 0.5 }, "a")
    server.flag("#{name}-o", { a: { list: [1, nil] } }, "a")
    asking = client(server)
    assert_equal true, asking.boolean("#{name}-b", false, "u")
    assert_equal "ä\"😀", asking.string("#{name}-s", "-", { "targetingKey" => "u", plan: :pro })
    assert_equal 2**53 + 1, asking.integer("#{name}-i", 0, 7)
    assert_in_delta 0.5, asking.float("#{name}-f", 0.0, nil)
    assert_equal({ "list" => [1, nil] }, asking.object("#{name}-o", {}, "u"))
  end

  def test_contexts_that_are_none
    asking = client(server)
    [Object.new, [1], Float::NAN, { "a" => Time.now }, { 1 => 2 }, "\xff", { "a" => "\xff" }].each do |context|
      details = asking.details("x", :default, context, type: :string)
      assert_equal [:default, "ERROR"], [details.value, details.reason], context.inspect
      assert_equal "INVALID_CONTEXT", details.error, context.inspect
    end
  end

  def test_a_change_is_seen_at_once_by_fifty_threads
    name = key
    server.flag(name, { on: true, off: false }, "off")
    asking = client(server)
    refute asking.boolean(name, true, "u")
    eventually("the stream is open") { asking.flags.instance_variable_get(:@stream).open? }
    seen = Array.new(50) { Thread.new { sleep 0.005 until asking.boolean(name, false, "u") } }
    server.serve(name, "on")
    asked_by = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    seen.each { |thread| assert thread.join(PATIENCE_S), "not seen" }
    warn format("changeover: a change was seen after %.3f s", Process.clock_gettime(Process::CLOCK_MONOTONIC) - asked_by) if ENV["MEASURE"]
  end

  def test_ten_thousand_evaluations_from_fifty_threads
    name = key
    server.flag(name, { on: "on", off: "off" }, "off", rules: [{ serve: { rollout: { ranges: [{ variant: "on", from: 0, to: 50_000 }, { variant: "off", from: 50_000, to: 100_000 }] } } }])
    asking = client(server, timeout: 20)
    found = Array.new(50) { |thread| Thread.new { Array.new(200) { |number| asking.string(name, "-", "user-#{(thread + number) % 40}") } } }.flat_map(&:value)
    assert_equal 10_000, found.size
    expected = Array.new(50) { |thread| Array.new(200) { |number| Changeover.bucket(name, "user-#{(thread + number) % 40}") < 50_000 ? "on" : "off" } }.flatten
    assert_equal expected, found
  end

  def test_threads_that_ask_for_one_context_make_one_request
    told = told_server do
      sleep 0.1
      { flags: [{ key: "f", value: 1 }] }
    end
    asking = client(told, events: false)
    assert_equal [1], Array.new(20) { Thread.new { asking.integer("f", 0, "u") } }.map(&:value).uniq
    assert_equal 1, told.requests.size
  end

  def test_contexts_are_bounded
    told = told_server { { flags: [{ key: "f", value: "x" * 1000 }] } }
    asking = client(told, events: false, contexts_max: 10)
    100.times { |number| asking.string("f", "", "u#{number}") }
    count, bytes = asking.flags.kept
    assert_equal 10, count
    assert_operator bytes, :<, 12_000
  end

  def test_what_the_caller_changes_later_changes_nothing_here
    told = told_server { |request| { flags: [{ key: "f", value: request.json["context"]["list"].first }] } }
    asking = client(told, events: false)
    context = { "list" => [+"a"] }
    assert_equal "a", asking.string("f", "", context)
    context["list"][0] = "b"
    assert_equal "b", asking.string("f", "", context)
    assert_equal "a", asking.string("f", "", { "list" => ["a"] })
    assert_equal 2, told.requests.size
  end

  def test_what_the_caller_does_to_a_value_changes_nothing_here
    told = told_server { { flags: [{ key: "f", value: { list: [1] } }] } }
    asking = client(told, events: false)
    assert_raises(FrozenError) { asking.object("f", {}, "u")["list"] << 2 }
    assert_equal({ "list" => [1] }, asking.object("f", {}, "u"))
  end

  def test_an_old_answer_serves_while_it_is_renewed
    hold = false
    value = 1
    told = told_server do
      sleep 0.02 while hold
      { flags: [{ key: "f", value: value }] }
    end
    asking = client(told, events: false, max_age: 0.2, timeout: 10)
    assert_equal 1, asking.integer("f", 0, "u")
    hold = true
    value = 2
    sleep 0.25
    assert_equal [1, "UNKNOWN"], asking.details("f", 0, "u", type: :integer).to_h.values_at(:value, :reason)
    hold = false
    eventually("renewed") { asking.integer("f", 0, "u") == 2 }
  end

  def test_if_none_match
    told = told_server { |request| request.headers["if-none-match"] ? [304, {}, ""] : [200, { "ETag" => '"7"' }, JSON.generate(flags: [{ key: "f", value: 1 }])] }
    asking = client(told, events: false, max_age: 0.05)
    assert_equal 1, asking.integer("f", 0, "u")
    eventually("asked again") do
      sleep 0.06
      asking.integer("f", 0, "u") == 1 && told.requests.any? { |request| request.headers["if-none-match"] == '"7"' }
    end
    assert_equal "UNKNOWN", asking.details("f", 0, "u").reason
  end

  def test_a_slow_server_costs_one_caller_one_timeout
    told = told_server { :silent }
    asking = client(told, events: false, timeout: 0.3)
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    details = asking.details("f", :default, "u")
    assert_equal [:default, "PROVIDER_NOT_READY"], [details.value, details.error]
    asking.flags.instance_variable_set(:@not_before, started + 1_000)
    1000.times { |number| assert_equal 5, asking.integer("f", 5, "u#{number}") }
    assert_equal 1, told.requests.size
  end

  def test_a_server_that_drips_is_given_up
    told = told_server { sleep 0.05 }
    def told.answer(socket, _request)
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
      loop { socket.write("x") && sleep(0.1) }
    end
    asking = client(told, events: false, timeout: 0.4)
    assert_equal "PROVIDER_NOT_READY", asking.details("f", 1, "u").error
    assert_raises(Changeover::TimedOut) { client(told, events: false, timeout: 0.4, retries: Changeover::Retries.new(sleeper: ->(_) {})).writes("c").run([]) }
  end

  def test_answers_that_are_none_never_raise
    random = Random.new(7)
    whole = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 48\r\n\r\n" + '{"flags":[{"key":"f","value":1,"reason":"STATIC"}]}'
    told = told_server { {} }
    told.define_singleton_method(:answer) do |socket, _request|
      text = whole.b
      random.rand(1..6).times { text.setbyte(random.rand(text.bytesize), random.rand(256)) }
      socket.write(text.byteslice(0, random.rand(1..text.bytesize)))
      nil
    end
    40.times do |number|
      asking = client(told, events: number.odd?, timeout: 0.2)
      assert_kind_of Integer, asking.integer("f", 0, "u#{number}")
      assert_kind_of Integer, asking.integer("f", 0, "u", cached: false)
    end
  end

  def test_in_a_signal_handler
    asking = client(server, events: false)
    found = nil
    before = trap("USR2") { found = asking.integer("no-such-flag", 3, "u") }
    Process.kill(:USR2, Process.pid)
    eventually("answered") { found == 3 }
  ensure
    trap("USR2", before || "DEFAULT")
  end

  def test_nobody_is_there
    free = TCPServer.open("127.0.0.1", 0) { |socket| socket.addr[1] }
    asking = Changeover::Client.new(url: "http://127.0.0.1:#{free}", token: "x")
    assert_equal :default, asking.details("f", :default, "u").value
    assert_raises(Changeover::ConnectionFailed) { asking.instance_variable_get(:@transport).get("/") }
    asking.close
  end

  def test_settings_that_make_no_sense_are_refused
    [{ url: "ftp://x" }, { url: "" }, { url: "http://x", timeout: 0 }, { url: "http://x", contexts_max: -1 }].each do |settings|
      assert_raises(ArgumentError) { Changeover::Client.new(**settings) }
    end
  end
end

class StateTest < TestCase
  include SharedServer

  def test_a_start_without_the_server
    name = "disk-#{rand(2**40)}"
    server.flag(name, { on: true, off: false }, "on")
    Dir.mktmpdir do |directory|
      path = "#{directory}/state/known.json"
      first = Changeover::Client.new(url: server.url, token: server.token, state_path: path)
      context = { "targetingKey" => "ada@example.com", "plan" => "pro" }
      assert first.boolean(name, false, context)
      first.close
      assert_equal 0o600, File.stat(path).mode & 0o777
      refute_includes File.read(path), "ada@"

      away(path, server.url) do |url, later|
        asking = Changeover::Client.new(url: url, token: "x", state_path: later, events: false)
        details = asking.details(name, false, { plan: "pro", targetingKey: "ada@example.com" }, type: :boolean)
        assert_equal [true, "STALE"], [details.value, details.reason]
        assert_equal "PROVIDER_NOT_READY", asking.details(name, false, "somebody else").error
        asking.close
        assert_equal 1, JSON.parse(File.read(later))["contexts"].size
      end
    end
  end

  # The file as a client of an unreachable server would have left it.
  def away(path, url)
    free = TCPServer.open("127.0.0.1", 0) { |socket| "http://127.0.0.1:#{socket.addr[1]}" }
    later = "#{path}.later"
    File.write(later, File.read(path).sub(JSON.generate(url), JSON.generate(free)))
    yield free, later
  end

  def test_files_that_are_none
    Dir.mktmpdir do |directory|
      path = "#{directory}/state.json"
      ["", "{", "[]", '{"format":2}', '{"format":1,"url":"elsewhere"}', "\xff\x00", '{"format":1,"contexts":7}'].each do |text|
        File.binwrite(path, text)
        asking = client(server, state_path: path, events: false)
        assert_equal 3, asking.integer("no-such-flag", 3, "u"), text
      end
    end
  end
end
