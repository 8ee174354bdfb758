# frozen_string_literal: true

require_relative "helper"

# The corpus of traces: stage, operation and failures → calls, what the caller gets, what is observed.
class MigratorTest < TestCase
  class Boom < StandardError; end
  class Bang < StandardError; end
  Opaque = Struct.new(:number)

  # Says stages as it is told to, and notes observations.
  class Told
    attr_accessor :answer
    attr_reader :added, :counted

    def initialize
      @added = []
      @counted = []
      @stages = {}
    end

    def details(key, default, _context, type:)
      answer.key?("value") ? Changeover::Details.new(key: key, value: answer["value"]) : Changeover::Details.new(key: key, value: default, error: answer["error"])
    end

    def flags = self
    def observations = self
    def known_stage(flag) = @stages[flag]
    def remember_stage(flag, stage) = @stages[flag] = stage
    def add(_path, observation) = @added << observation
    def count(name, *) = @counted << name
  end

  Draws = Struct.new(:numbers) do
    def rand = numbers.shift || 0.0
  end

  COMPARE = { "equal" => ->(old, new) { old == new }, "within_1" => ->(old, new) { (old - new).abs <= 1 }, "fails" => ->(*) { raise Bang } }.freeze
  IGNORE = { "always" => ->(*) { true }, "never" => ->(*) { false }, "fails" => ->(*) { raise Bang }, "new_is_null" => ->(_, new) { new.nil? } }.freeze

  def real(value)
    return Opaque.new(value["$object"]) if value.is_a?(Hash) && value.key?("$object")

    value.is_a?(Hash) && value.key?("$text") ? "x" * value["$text"] : value
  end

  def function(side, does, calls)
    lambda do |argument|
      assert_equal :argument, argument
      calls << side
      raise self.class.const_get(does["raises"]) if does["raises"]

      real(does["returns"])
    end
  end

  def test_traces
    corpus("clients/migrator")["traces"].each do |each|
      told = Told.new.tap { |client| client.answer = { "value" => each["stage"] } }
      calls = Queue.new
      migrator = made(told, each, calls)
      result = begin
        { "returns" => migrator.public_send(each["operation"], "a", :argument) }
      rescue Boom, Bang => e
        { "raises" => e.class.name.split("::").last }
      end
      checked(each, result, Array.new(calls.size) { calls.pop }, told.added)
    end
  end

  def made(told, each, calls)
    sides = %w[old new].product(%w[read write]).to_h { |side, what| [:"#{side}_#{what}", function("#{side}.#{what}", each[side], calls)] }
    draws = (each["sample"] < 1 ? [each["draw"]] : []) + [each["first"] == "new" ? 0.9 : 0.1]
    Changeover::Migrator.new(told, "shop", **sides, order: each["order"].to_sym, compare: COMPARE[each["compare"]], ignore: each["ignore"].map { |name| IGNORE[name] },
                                                    sample: each["sample"], values: each["values"], random: Draws.new(draws))
  end

  def checked(each, result, calls, added)
    assert_equal each["result"]["returns"] ? { "returns" => real(each["result"]["returns"]) } : each["result"], result, each.to_s
    each["together"] ? assert_equal(each["calls"].sort, calls.sort, each.to_s) : assert_equal(each["calls"], calls, each.to_s)
    assert_equal each["observation"] ? 1 : 0, added.size, each.to_s
    return unless (expected = each["observation"])

    found = added.first
    %w[old new].each { |side| assert_kind_of Integer, found[side].delete("duration_us") }
    %w[old new].each { |side| found[side]["error"] &&= found[side]["error"].split("::").last }
    assert_equal expected, found, each.to_s
  end

  def test_stages
    corpus("clients/migrator")["stages"].each do |each|
      told = Told.new
      migrator = Changeover::Migrator.new(told, "shop", default_stage: each["default_stage"].to_sym)
      found = each["answers"].map do |answer|
        told.answer = answer
        migrator.stage(answer["context"] || "a")
      end
      assert_equal each["stages"], found, each.to_s
    end
  end

  def test_the_table
    corpus("clients/migrator")["table"].each do |stage, does|
      assert_equal does, { "read" => Changeover::Migrator::READ[stage].map(&:to_s), "write" => Changeover::Migrator::WRITE[stage].map(&:to_s) }
    end
  end
end
