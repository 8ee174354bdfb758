# frozen_string_literal: true

require "minitest/autorun"
require "changeover"
require "changeover/rack"
require_relative "server"
require_relative "told_server"

CORPUS = File.expand_path("../../../tests/corpus/v1", __dir__)

class TestCase < Minitest::Test
  PATIENCE_S = 30

  def corpus(name)
    JSON.parse(File.read("#{CORPUS}/#{name}.json"))
  end

  def client(server, **options)
    made = Changeover::Client.new(url: server.url, token: server.token, **options)
    (@clients ||= []) << made
    made
  end

  def told_server(&block)
    (@servers ||= []) << (server = ToldServer.new(&block))
    server
  end

  def teardown
    (@clients || []).each(&:close)
    (@servers || []).each(&:stop)
  end

  def eventually(what)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + PATIENCE_S
    until yield
      flunk "#{what}: not in #{PATIENCE_S} s" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
      sleep 0.01
    end
  end
end

# One server for the tests that do it no harm.
module SharedServer
  def self.get
    @get ||= Server.new(application: true).tap { |server| Minitest.after_run { server.stop } }
  end

  def server
    SharedServer.get
  end
end
