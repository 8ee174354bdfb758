# frozen_string_literal: true

require "json"
require "open3"

# The real binary on the place's databases.
class Changeover
  class Failed < StandardError; end

  NAME = "billing-allocation"

  def initialize(binary, place)
    @binary = binary
    @place = place
    @environment = { "CHANGEOVER_DATABASE_URL" => "sqlite:#{place.directory}/service.db", "CHANGEOVER_APP_DATABASE_URL" => place.changeover_url }
  end

  attr_reader :environment

  def run(*arguments, input: nil)
    output, error, status = Open3.capture3(@environment, @binary, *arguments.map(&:to_s), stdin_data: input.to_s)
    status.success? ? output : raise(Failed, "changeover #{arguments.join(' ')} failed (#{status.exitstatus}):\n#{output}#{error}")
  end

  # What the binary says of a command that it refuses.
  def refused(*arguments)
    output, error, status = Open3.capture3(@environment, @binary, *arguments.map(&:to_s))
    status.success? ? raise(Failed, "changeover #{arguments.join(' ')} was not refused:\n#{output}") : output + error
  end

  def stage(name)
    run("change", "stage", NAME, name, "--reason", "the proof")
  end

  # How many rows verify compared; raises at the first that differs, or that waits to be translated.
  def verify
    blocks = JSON.parse(run("verify", NAME, "--json"))
    run("change", "pending", NAME)
    blocks
  end

  def sign_report
    id = JSON.parse(run("report", "run", NAME, "--json", "--format", "json")).fetch("id")
    run("report", "sign", id, "--name", "Fiona Finance", "--role", "finance")
  end

  def create_flag(flag)
    run("flag", "create", "-", "--reason", "the proof", input: JSON.generate(flag))
  end

  def replace_flag(flag)
    run("flag", "replace", "-", "--reason", "the proof", input: JSON.generate(flag))
  end

  def serve
    Server.open(@binary, @environment) { |server| yield server }
  end
end
