# frozen_string_literal: true

# Makes a month's bills: what each user owes, by currency. Users with a company pay on its name.
class BillRun
  Line = Struct.new(:user_id, :addressee, :currency, :amount_minor, :charges)

  def initialize(period)
    @period = period
  end

  def lines
    Charge.where(period: @period).joins(:user).group("users.id", "users.name", "users.company", :currency)
          .order("users.id", :currency)
          .pluck("users.id", "users.name", "users.company", :currency, Arel.sql("sum(amount_minor)"), Arel.sql("count(*)"))
          .map { |id, name, company, currency, sum, count| Line.new(id, company || name, currency, sum.to_i, count) }
  end

  def close!
    ActiveRecord::Base.transaction do
      bills = lines
      Period.close!(@period)
      bills
    end
  end
end
