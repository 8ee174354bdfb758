# frozen_string_literal: true

# usage: cohort.rb PERIOD   the month's bills, for the pilot's users by the new allocation and for everybody else by the old one.
# This is all that is new in the application; CHANGEOVER_URL, CHANGEOVER_TOKEN and DATABASE_URL say where things are.
require "changeover"
require_relative "config/environment"

period = ARGV.fetch(0)
sides = Changeover::Client.new(timeout: 20).sides_of("billing-allocation", User.order(:id).pluck(:id), period).map { |answer| answer.side || raise(answer.error) }
view = ActiveRecord::Base.connection.adapter_name == "PostgreSQL" ? "changeover.effective_allocation" : "changeover_effective_allocation"
bills = ActiveRecord::Base.connection.select_rows("SELECT payer, currency, sum(amount) FROM #{view} WHERE period = '#{period}' GROUP BY payer, currency")

puts JSON.generate(users: sides.tally, total: bills.sum { |_, _, amount| amount.to_i }, bills: bills.to_h { |payer, currency, amount| ["#{payer} #{currency}", amount.to_i] })
