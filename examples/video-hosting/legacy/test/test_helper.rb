# frozen_string_literal: true

require "minitest"
require_relative "../config/environment"

# What becomes of a test's rows, as an application's own tests do it.
CLEANING = ENV.fetch("CLEANING", "transaction")
abort "CLEANING is #{CLEANING}: transaction, deletion, truncation or keep" unless %w[transaction deletion truncation keep].include?(CLEANING)

module Cleaning
  TABLES = %w[charges videos users periods jobs].freeze

  module_function

  def delete
    connection = ActiveRecord::Base.connection
    connection.execute("UPDATE charges SET reverses_id = NULL WHERE reverses_id IS NOT NULL")
    TABLES.each { |table| connection.execute("DELETE FROM #{table}") }
  end

  def truncate
    ActiveRecord::Base.connection.execute("TRUNCATE TABLE #{TABLES.join(', ')} RESTART IDENTITY CASCADE")
  end
end

class TestCase < Minitest::Test
  # Tests whose rows threads or other connections must see cannot be rolled back.
  def self.committing
    define_method(:rolled_back?) { false }
  end

  def rolled_back?
    CLEANING == "transaction"
  end

  def setup
    case CLEANING
    when "deletion" then Cleaning.delete
    when "truncation" then Cleaning.truncate
    end
    @transaction = ActiveRecord::Base.connection.begin_transaction(joinable: false) if rolled_back?
  end

  def teardown
    ActiveRecord::Base.connection.rollback_transaction if @transaction
  end

  def postgres?
    ActiveRecord::Base.connection.adapter_name == "PostgreSQL"
  end

  # A month in which there is nothing yet.
  def month
    last = [Charge.maximum(:period), Period.maximum(:period), @month, "2026-11"].compact.max
    year, number = last.split("-").map(&:to_i)
    @month = number == 12 ? format("%04d-01", year + 1) : format("%04d-%02d", year, number + 1)
  end

  def user(name = "Ada", **more)
    User.create!(name: name, **more)
  end

  def video(owner = user, title = "First")
    owner.videos.create!(title: title)
  end

  def charge(video, amount_minor, period: @month || month, currency: "EUR")
    video.charges.create!(period: period, currency: currency, amount_minor: amount_minor)
  end
end
